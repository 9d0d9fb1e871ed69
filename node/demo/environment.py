"""The servers of the demonstration: a node, its PACS and its viewer, or a node and a plain folder."""

from __future__ import annotations

import json
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from node.demo import ohif, servers
from node.demo.console import DemoConsole, short
from node.demo.pacs import Pacs
from node.demo.servers import Ports
from node.free_ports import free_ports
from node.journal.journal import Journal
from node.store.layout import StateDirectory

OHIF: Final = Path(".cache/ohif")


@dataclass(frozen=True, slots=True, eq=False)
class Environment:
    """The running servers.

    pacs: None if a folder replaces it. viewer: None without PACS or OHIF.
    """

    run: Path
    ports: Ports
    journal: Journal
    pacs: Pacs | None
    viewer: ohif.Viewer | None

    @property
    def target(self) -> tuple[str, int]:
        """AE title and port that the scanner sends to."""
        if self.pacs is None:
            return servers.NODE_AET, self.ports.node
        return servers.PACS_AET, self.ports.pacs_dicom

    @property
    def delivered(self) -> Path:
        """Folder of the results without a PACS."""
        return self.run / "delivered"

    @property
    def config(self) -> Path:
        """The node's configuration."""
        return self.run / "config.toml"


def config_text(state: Path, port: int, destination: str, viewer: str = "") -> str:
    """Return the node's configuration for the demonstration; viewer: template of the results' links."""
    return f"""[node]
ae_title = "{servers.NODE_AET}"
port = {port}
state = {json.dumps(str(state))}
station = "DEMO"

[receive]
disk_low_mb = 200
disk_high_mb = 400

[[receive.caller]]
name = "pacs"
ae_title = "{servers.PACS_AET}"
addresses = ["{servers.LOOPBACK}"]

[[receive.caller]]
name = "scanner"
ae_title = "{servers.SCANNER_AET}"
addresses = ["{servers.LOOPBACK}"]

[track]
# A hospital waits longer before it considers a series complete or incomplete.
quiet_seconds = 8
settle_seconds = 2

[results]
viewer = {json.dumps(viewer)}

{destination}
"""


def _destination(folder: Path, ports: Ports, *, with_pacs: bool) -> str:
    if not with_pacs:
        where = f'name = "folder"\nkind = "folder"\npath = {json.dumps(str(folder))}'
    else:
        where = f"""name = "pacs"
kind = "dicom"
ae_title = "{servers.PACS_AET}"
host = "{servers.LOOPBACK}"
port = {ports.pacs_dicom}"""
    return f"[[node.destination]]\n{where}"


def bring_up(console: DemoConsole, stack: ExitStack, *, with_pacs: bool) -> Environment:
    """Start every server below `<out>/run`; the stack stops them in reverse order.

    Raises:
        ServerFailed: a server did not start.
    """
    run = console.out / "run"
    ports = Ports(*free_ports(4))
    config = run / "config.toml"
    destination = _destination(run / "delivered", ports, with_pacs=with_pacs)
    dist = ohif.built(OHIF) if with_pacs else None
    (port,) = free_ports(1)
    links = "" if dist is None else ohif.link_template(port)
    config.write_text(config_text(run / "state", ports.node, destination, links), encoding="utf-8")
    where = f"{servers.NODE_AET} on port {ports.node}"
    # The node first: Orthanc does not repeat a routing job whose target was down.
    with console.step(f"node {where}, log {short(run / 'node.log')}"):
        node = servers.start_node(config, run / "node.log", ports.node)
        stack.callback(servers.stop, node)
    pacs = _pacs(console, stack, run, ports) if with_pacs else None
    viewer = _viewer(console, stack, dist, port, ports.pacs_url) if with_pacs else None
    with console.step("every worker has its model and has tried it"):
        servers.wait_until_ready(node)
    journal = Journal.reading(StateDirectory(run / "state").journal, time.time)
    return Environment(run, ports, journal, pacs, viewer)


def _pacs(console: DemoConsole, stack: ExitStack, run: Path, ports: Ports) -> Pacs:
    place = f"DICOM port {ports.pacs_dicom}, web {ports.pacs_url}"
    with console.step(f"Orthanc as PACS {servers.PACS_AET}: {place}"):
        stack.callback(servers.stop, servers.start_orthanc(run / "orthanc", ports))
    pacs = Pacs(ports.pacs_url)
    stack.callback(pacs.close)
    console.print_line(
        f"reachable from other machines meanwhile: Orthanc's ports {ports.pacs_dicom} and"
        f" {ports.pacs_http}, since it cannot listen on loopback alone; they refuse every other"
        f" machine (DICOM: only {servers.SCANNER_AET} and {servers.NODE_AET} from it)."
        " Node and viewer listen on loopback."
    )
    return pacs


def _viewer(
    console: DemoConsole, stack: ExitStack, dist: Path | None, port: int, pacs_url: str
) -> ohif.Viewer | None:
    if dist is None:
        console.print_line(
            f"OHIF is not in {OHIF} (sh orthanc/ohif.sh {OHIF} fetches it): no viewer"
        )
        return None
    viewer = ohif.serve(ohif.application(dist, ohif.SCRIPTS, pacs_url), port)
    stack.callback(viewer.stop)
    console.print_line(f"OHIF viewer: {viewer.url}")
    return viewer
