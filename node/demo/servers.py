"""Start, watch and stop the demonstration's processes; all on loopback, every wait bounded."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sysconfig
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import httpx

from dicomseg.errors import LumbarError

LOOPBACK: Final = "127.0.0.1"
SCANNER_AET: Final = "SCANNER"
PACS_AET: Final = "ORTHANC"
NODE_AET: Final = "LUMBARNODE"
START_TIMEOUT_S: Final = 60.0
"""Orthanc needs 1.1 s; torch on a busy machine can take half a minute to import."""
WARM_TIMEOUT_S: Final = 300.0
"""Time for the workers of a node to load and try their models, on a busy machine too."""
STOP_TIMEOUT_S: Final = 30.0
_POLL_S: Final = 0.05
_DICOMWEB_PLUGIN: Final = "libOrthancDicomWeb.so"
_PLUGIN_FOLDERS: Final = ("/usr/share/orthanc/plugins", "/usr/lib/orthanc", "/usr/local/lib")


class ServerFailed(LumbarError):
    """A server of the demonstration did not start or stopped by itself; its log says why."""

    code = "demo-server"
    exit_code = 5


@dataclass(frozen=True, slots=True, eq=False)
class Running:
    """A server process and its log."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def alive(self) -> bool:
        """Whether it still runs."""
        return self.process.poll() is None


def command(name: str) -> str:
    """Return the path of one of our own console scripts, in the environment that runs this."""
    return str(Path(sysconfig.get_path("scripts")) / name)


def dcmtk_environment() -> dict[str, str]:
    """Return the environment for DCMTK programs, Orthanc included.

    Without TCP_NODELAY Debian's DCMTK waits 40 to 50 ms per image for delayed acknowledgements.
    """
    return {**os.environ, "TCP_NODELAY": "1"}


def start(
    name: str,
    arguments: Sequence[str],
    log: Path,
    ready: Callable[[], bool],
    *,
    env: Mapping[str, str] | None = None,
    timeout_s: float = START_TIMEOUT_S,
) -> Running:
    """Start a server and wait until it answers. Raises `ServerFailed` with the end of its log."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as out:
        process = subprocess.Popen(
            list(arguments),
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            env=None if env is None else dict(env),
            start_new_session=True,  # Ctrl-C reaches us alone; we then stop in order
        )
    running = Running(name, process, log)
    deadline = time.monotonic() + timeout_s
    while running.alive and time.monotonic() < deadline:
        if ready():
            return running
        time.sleep(_POLL_S)
    how = "did not answer" if running.alive else f"ended with exit code {process.returncode}"
    stop(running)
    raise ServerFailed(f"{name} {how}; the end of {log}:\n{tail(log)}")


def stop(running: Running, timeout_s: float = STOP_TIMEOUT_S) -> int:
    """Stop in order (SIGTERM), or kill after the timeout. Return the exit code."""
    if running.alive:
        running.process.terminate()
        try:
            running.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            running.process.kill()
    return running.process.wait(STOP_TIMEOUT_S)


def tail(log: Path, lines: int = 12) -> str:
    """Return the last lines of a log, indented."""
    text = log.read_text(encoding="utf-8", errors="replace").splitlines() if log.exists() else []
    return "\n".join(f"    {line}" for line in text[-lines:])


def listens(port: int, host: str = LOOPBACK) -> bool:
    """Return whether a port accepts connections."""
    try:
        with socket.create_connection((host, port), timeout=1.0):
            return True
    except OSError:
        return False


def answers(url: str) -> bool:
    """Return whether an HTTP server responds with success."""
    try:
        return httpx.get(url, timeout=2.0).is_success
    except httpx.HTTPError:
        return False


def home() -> Path:
    """Return the repository's `orthanc/` folder with the PACS and viewer configuration."""
    return Path(__file__).resolve().parents[2] / "orthanc"


def find_orthanc() -> tuple[str, Path] | None:
    """Return Orthanc's program and its DICOMweb plugin, or None when either is missing."""
    search = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin"])
    program = shutil.which("Orthanc", path=search)
    plugins = [Path(folder) / _DICOMWEB_PLUGIN for folder in _PLUGIN_FOLDERS]
    plugin = next((p for p in plugins if p.exists()), None)
    return None if program is None or plugin is None else (program, plugin)


@dataclass(frozen=True, slots=True)
class Ports:
    """Ports of the servers."""

    pacs_dicom: int
    pacs_http: int
    node: int
    scanner: int

    @property
    def pacs_url(self) -> str:
        """Base address of Orthanc's REST interface."""
        return f"http://{LOOPBACK}:{self.pacs_http}"


def orthanc_settings(folder: Path, ports: Ports, plugin: Path) -> dict[str, Any]:
    """Return `orthanc/orthanc.json` with the folders, ports and known modalities of this run."""
    settings: dict[str, Any] = json.loads((home() / "orthanc.json").read_text(encoding="utf-8"))
    database = str(folder / "db")
    return settings | {
        "StorageDirectory": database,
        "IndexDirectory": database,
        "DicomPort": ports.pacs_dicom,
        "HttpPort": ports.pacs_http,
        "Plugins": [str(plugin)],
        "LuaScripts": [str(home() / "routing.lua")],
        "DicomModalities": {
            "scanner": {"AET": SCANNER_AET, "Host": LOOPBACK, "Port": ports.scanner},
            "node": {"AET": NODE_AET, "Host": LOOPBACK, "Port": ports.node},
        },
    }


def wait_until_ready(node: Running) -> None:
    """Wait until every worker of a node is warm, as its log says. Raises `ServerFailed`."""
    deadline = time.monotonic() + WARM_TIMEOUT_S
    while '"event": "NodeReady"' not in node.log.read_text(encoding="utf-8", errors="replace"):
        if not node.alive or time.monotonic() > deadline:
            raise ServerFailed(
                f"{node.name} is not ready; the end of {node.log}:\n{tail(node.log)}"
            )
        time.sleep(_POLL_S)


def start_orthanc(folder: Path, ports: Ports) -> Running:
    """Start an Orthanc of our own under `folder`. Raises `ServerFailed`."""
    orthanc = find_orthanc()
    if orthanc is None:
        raise ServerFailed(
            "Orthanc or its DICOMweb plugin is missing; apt install orthanc-dicomweb"
        )
    program, plugin = orthanc
    (folder / "db").mkdir(parents=True, exist_ok=True)
    settings = folder / "orthanc.json"
    settings.write_text(
        json.dumps(orthanc_settings(folder, ports, plugin), indent=2), encoding="utf-8"
    )
    return start(
        "Orthanc",
        [program, str(settings)],
        folder / "orthanc.log",
        lambda: answers(f"{ports.pacs_url}/system") and listens(ports.pacs_dicom),
        env=dcmtk_environment(),
    )


def start_node(config: Path, log: Path, port: int) -> Running:
    """Start `lumbar-node serve`. Raises `ServerFailed`."""
    return start(
        "lumbar-node",
        [command("lumbar-node"), "serve", "--config", str(config)],
        log,
        lambda: listens(port),
        env=dcmtk_environment(),
    )
