"""The demonstration: synthetic patients → PACS → node → PACS, with the truth beside what was measured."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from rich.console import Console

from dicomseg import headers
from dicomseg.errors import InputRefused, LumbarError
from node.demo import ohif, scanner, servers, table
from node.demo.cast import CAST, Role
from node.demo.pacs import Pacs
from node.demo.scanner import Study
from node.explain import Timeline, timeline
from node.journal import Journal
from node.records import SeriesKey
from node.states import SeriesState

OHIF: Final = Path(".cache/ohif")
END_TIMEOUT_S: Final = 420.0
"""For all patients together; a patient takes about ten seconds on two idle cores."""
ENDED: Final = (
    SeriesState.DELIVERED,
    SeriesState.SKIPPED,
    SeriesState.INCOMPLETE,
    SeriesState.FAILED,
)
OBJECTS: Final = ("seg.dcm", "midplane.dcm", "measurements.dcm", "volumes.dcm")


class NotAsExpected(LumbarError):
    """A study did not end as it must; `lumbar-node why` with its series says what happened."""

    code = "demo-ending"


@dataclass(slots=True)
class _Stage:
    """Where everything of this run is."""

    console: Console
    out: Path
    began: float = field(default_factory=time.monotonic)

    def say(self, text: str) -> None:
        self.console.print(
            f"[dim]{time.monotonic() - self.began:6.1f} s[/dim]  {text}", highlight=False
        )

    @contextmanager
    def step(self, text: str) -> Iterator[None]:
        with self.console.status(text):
            began = time.monotonic()
            yield
        self.say(f"{text} ({time.monotonic() - began:.1f} s)")


def config_text(state: Path, port: int, destination: str) -> str:
    """Return the node's configuration for the demonstration."""
    return f"""[node]
ae_title = "{servers.NODE_AET}"
port = {port}
state = {json.dumps(str(state))}
station = "DEMO"

[receive]
calling_ae_titles = ["{servers.PACS_AET}", "{servers.SCANNER_AET}"]
disk_low_mb = 200
disk_high_mb = 400

[track]
quiet_seconds = 8

{destination}
"""


def _pacs_destination(ports: servers.Ports) -> str:
    return f"""[[node.destination]]
name = "pacs"
kind = "dicom"
ae_title = "{servers.PACS_AET}"
host = "{servers.LOOPBACK}"
port = {ports.pacs_dicom}
"""


def _folder_destination(folder: Path) -> str:
    return f"""[[node.destination]]
name = "folder"
kind = "folder"
path = {json.dumps(str(folder))}
"""


def main(
    *, keep: bool, patients: int, out: Path, no_servers: bool, cast: Sequence[Role] = CAST
) -> int:
    """Run the demonstration; returns 0, or the exit code of the step that failed."""
    stage = _Stage(Console(), out.resolve())
    chosen = [r for n, r in enumerate(r for r in cast if r.ending == "delivered") if n < patients]
    chosen += [r for r in cast if r.ending != "delivered"]
    with ExitStack() as stack:
        try:
            _run(stage, chosen, stack, keep=keep, with_pacs=not no_servers)
        except LumbarError as error:
            stage.console.print(f"[red]demo:[/red] {error}", highlight=False)
            return error.exit_code
    return 0


def _run(
    stage: _Stage, cast: Sequence[Role], stack: ExitStack, *, keep: bool, with_pacs: bool
) -> None:
    if with_pacs and servers.find_orthanc() is None:
        stage.say(
            "Orthanc with its DICOMweb plugin is missing (apt install orthanc-dicomweb): a folder takes its place"
        )
        with_pacs = False
    run = stage.out / "run"
    shutil.rmtree(run, ignore_errors=True)
    run.mkdir(parents=True)
    studies = _paint(stage, cast)
    ports = servers.Ports(*servers.free_ports(4))
    config = run / "config.toml"
    destination = _pacs_destination(ports) if with_pacs else _folder_destination(run / "delivered")
    config.write_text(config_text(run / "state", ports.node, destination), encoding="utf-8")

    def up(running: servers.Running) -> None:
        stack.callback(servers.stop, running)

    with stage.step(
        f"node {servers.NODE_AET} on port {ports.node}, log {_short(run / 'node.log')}"
    ):
        up(servers.start_node(config, run / "node.log", ports.node))
    pacs: Pacs | None = None
    if with_pacs:
        with stage.step(f"Orthanc: DICOM port {ports.pacs_dicom}, REST {ports.pacs_url}"):
            up(servers.start_orthanc(run / "orthanc", ports))
            pacs = Pacs(ports.pacs_url)
            stack.callback(pacs.close)
        stage.say(
            "reachable from other machines while this runs: Orthanc listens on every interface, answers HTTP"
            " and DICOM from loopback's known modalities only; the node and the viewer are on loopback"
        )
    viewer = _viewer(stage, ports, stack) if with_pacs else None
    journal = Journal.open(run / "state" / "journal.sqlite", time.time)
    _send(stage, studies, ports, with_pacs=with_pacs)
    endings = _wait(stage, studies, journal)
    results = _tell(stage, studies, journal, endings)
    if pacs is not None:
        _check_pacs(stage, pacs, results)
    _where(stage, run, viewer, results)
    _judge(studies, journal, endings)
    if keep:
        _stay(stage)


def _paint(stage: _Stage, cast: Sequence[Role]) -> tuple[Study, ...]:
    with stage.step(f"{len(cast)} synthetic patients"):
        return scanner.make_studies(
            cast, stage.out / "studies", lambda r: stage.say(f"painted {r.case}: {r.title}")
        )


def _viewer(stage: _Stage, ports: servers.Ports, stack: ExitStack) -> ohif.Viewer | None:
    dist = ohif.built(OHIF)
    if dist is None:
        stage.say(f"OHIF is not in {OHIF} (sh orthanc/ohif.sh {OHIF}): no viewer link")
        return None
    (port,) = servers.free_ports(1)
    viewer = ohif.serve(ohif.application(dist, servers.home() / "ohif.js", ports.pacs_url), port)
    stack.callback(viewer.stop)
    stage.say(f"OHIF on {viewer.url}")
    return viewer


def _send(
    stage: _Stage, studies: Sequence[Study], ports: servers.Ports, *, with_pacs: bool
) -> None:
    called, port = (
        (servers.PACS_AET, ports.pacs_dicom) if with_pacs else (servers.NODE_AET, ports.node)
    )
    for study in studies:
        with stage.step(f"scanner sends {study.role.case} to {called}: {len(study.files)} images"):
            scanner.send(study, called, port)


def _ended(study: Study, journal: Journal) -> bool:
    rows = journal.study_series(study.uid)
    wanted = {study.series_uid} if not study.role.send else None
    there = {r.key.series for r in rows}
    if wanted is not None and not wanted <= there:
        return False
    sent = {p.parent.name for p in study.files}
    return len(rows) >= len(sent) and all(r.state in ENDED for r in rows)


def _wait(stage: _Stage, studies: Sequence[Study], journal: Journal) -> dict[str, bool]:
    deadline = time.monotonic() + END_TIMEOUT_S
    endings: dict[str, bool] = {}
    with stage.console.status("the PACS routes, the node works"):
        while len(endings) < len(studies) and time.monotonic() < deadline:
            for study in studies:
                if study.role.case not in endings and _ended(study, journal):
                    endings[study.role.case] = True
                    stage.say(f"{study.role.case} has ended ({study.role.title})")
            time.sleep(0.2)
    return endings


def _tell(
    stage: _Stage, studies: Sequence[Study], journal: Journal, endings: dict[str, bool]
) -> list[tuple[Study, dict[str, Any]]]:
    results: list[tuple[Study, dict[str, Any]]] = []
    lines: list[tuple[Study, Timeline]] = []
    others: list[tuple[str, str, str, str]] = []
    for study in studies:
        for row in journal.study_series(study.uid):
            found = journal.results_of(row.key)
            if found:
                results.append((study, table.read_result(found[-1].folder)))
                lines.append((study, timeline(journal, row.key)))
            else:
                others.append(
                    (study.role.case, _description(journal, row.key), row.state, row.reason)
                )
    say: Callable[..., None] = stage.console.print
    say()
    say(table.measurements(results))
    for sentence in table.refused(results):
        say(f"  {sentence}", highlight=False)
    say(table.times(lines))
    say(table.inside(lines))
    say(table.not_processed(others))
    missing = [s.role.case for s in studies if s.role.case not in endings]
    if missing:
        say(f"[red]not at an end after {END_TIMEOUT_S:.0f} s: {', '.join(missing)}[/red]")
    return results


def _description(journal: Journal, key: SeriesKey) -> str:
    first = journal.instances_of(key)[0]
    try:
        return headers.read(first.path).series_description
    except InputRefused:
        return key.series


def _check_pacs(stage: _Stage, pacs: Pacs, results: Sequence[tuple[Study, dict[str, Any]]]) -> None:
    for study, result in results:
        for item in result["objects"]:
            if not pacs.holds(item["sop_instance"]):
                raise NotAsExpected(
                    f"{study.role.case}: {item['file']} is not in Orthanc; see node.log"
                )
    stage.say(f"Orthanc holds every object of {len(results)} results: {', '.join(OBJECTS)}")


def _where(
    stage: _Stage,
    run: Path,
    viewer: ohif.Viewer | None,
    results: Sequence[tuple[Study, dict[str, Any]]],
) -> None:
    stage.say(f"files: {_short(run / 'state' / 'results')}, one folder per result")
    stage.say(f"ask the journal: lumbar-node list --config {_short(run / 'config.toml')}")
    if viewer is not None:
        for study, result in results:
            stage.say(f"{study.role.case}: {viewer.link(result['source']['study'])}")


def _judge(studies: Sequence[Study], journal: Journal, endings: dict[str, bool]) -> None:
    wrong = [f"{s.role.case} did not come to an end" for s in studies if s.role.case not in endings]
    wrong = wrong or check_endings(studies, journal)
    if wrong:
        raise NotAsExpected(f"{'; '.join(wrong)}; see node.log")


def check_endings(studies: Sequence[Study], journal: Journal) -> list[str]:
    """One sentence per study whose T2 SPACE series ended in another state than its role says."""
    wrong = []
    for study in studies:
        rows = {r.key.series: r for r in journal.study_series(study.uid)}
        chosen = rows.get(study.series_uid)
        states = (
            [chosen.state] if chosen and not study.role.send else [r.state for r in rows.values()]
        )
        if any(s != study.role.ending for s in states):
            wrong.append(
                f"{study.role.case} ended as {', '.join(states)} instead of {study.role.ending}"
            )
    return wrong


def _stay(stage: _Stage) -> None:
    stage.console.print("\nThe servers stay up. Ctrl-C ends them.")
    try:
        while True:
            time.sleep(1.0)
    except KeyboardInterrupt:
        stage.say("stopping")


def _short(path: Path) -> str:
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
