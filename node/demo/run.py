"""The demonstration: synthetic patients → PACS → node → PACS, measured and true values side by side."""

from __future__ import annotations

import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import FrameType
from typing import Any, Final

from rich.console import Console

from dicomseg.errors import LumbarError
from node.demo import report, scanner, servers
from node.demo.console import DemoConsole, short
from node.demo.environment import Environment, bring_up
from node.demo.scanner import SentStudy, Study
from node.demo.scenarios import SCENARIOS, Scenario
from node.journal.journal import Journal
from node.journal.rows import SeriesKey, SeriesRow
from node.journal.states import SeriesState
from node.observe.identity import read_identity
from node.observe.timeline import timeline
from node.store.results import read_result

END_TIMEOUT_S: Final = 300.0
"""For one patient after its last image; about ten seconds on two idle cores."""
_POLL_S: Final = 0.2
ENDED: Final = (
    SeriesState.DELIVERED,
    SeriesState.SKIPPED,
    SeriesState.INCOMPLETE,
    SeriesState.FAILED,
)
INTERRUPTED: Final = 130
"""What a shell reports for a program that Ctrl-C ended."""


class NotAsExpected(LumbarError):
    """A study ended in an unexpected state; `lumbar-node why STUDY` explains it."""

    code = "demo-ending"


class NotRouted(LumbarError):
    """The PACS could not forward a series to the node; its log and the node's say why."""

    code = "demo-routing"
    exit_code = 5


def main(
    *,
    keep: bool,
    patients: int,
    out: Path,
    no_servers: bool,
    scenarios: Sequence[Scenario] = SCENARIOS,
) -> int:
    """Run the demonstration; return 0, or the exit code of the step that failed.

    keep: leave the servers running until Ctrl-C. patients: number of patients with a result.
    no_servers: a plain folder replaces the PACS.
    """
    console = DemoConsole(Console(), out.resolve())
    with_result = [scenario for scenario in scenarios if scenario.ending == "delivered"][:patients]
    chosen = [*(scenario for scenario in scenarios if scenario.ending != "delivered"), *with_result]
    try:
        with _sigterm_as_interrupt(), ExitStack() as stack:
            _run(console, chosen, stack, keep=keep, with_pacs=not no_servers)
    except LumbarError as error:
        console.show(f"[red]demo:[/red] {error}")
        return error.exit_code
    except KeyboardInterrupt:
        console.print_line("interrupted; every server is stopped")
        return INTERRUPTED
    return 0


@contextmanager
def _sigterm_as_interrupt() -> Iterator[None]:
    """Treat SIGTERM as Ctrl-C, so that no server outlives the demonstration."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    earlier = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, earlier)


def _run(
    console: DemoConsole,
    scenarios: Sequence[Scenario],
    stack: ExitStack,
    *,
    keep: bool,
    with_pacs: bool,
) -> None:
    if with_pacs and servers.find_orthanc() is None:
        console.print_line(
            "Orthanc or its DICOMweb plugin is missing (apt install orthanc-dicomweb):"
        )
        console.print_line(
            "the scanner sends to the node itself, and a plain folder takes the results"
        )
        with_pacs = False
    shutil.rmtree(console.out / "run", ignore_errors=True)
    (console.out / "run").mkdir(parents=True)
    studies = _paint(console, scenarios)
    environment = bring_up(console, stack, with_pacs=with_pacs)
    sent = _send_and_wait(console, environment, studies)
    results = _report(console, environment, sent)
    _check_pacs(console, environment, results)
    _where(console, environment, results, keep=keep)
    wrong = check_endings(studies, environment.journal)
    if wrong:
        raise NotAsExpected(f"{'; '.join(wrong)}; see {short(environment.run / 'node.log')}")
    if keep:
        _stay(console)


def _paint(console: DemoConsole, scenarios: Sequence[Scenario]) -> tuple[Study, ...]:
    def done(scenario: Scenario) -> None:
        console.print_line(f"  {scenario.case}: {scenario.title}")

    with console.step(f"painted {len(scenarios)} synthetic patients"):
        return scanner.make_studies(scenarios, console.out / "studies", done)


# ---- sending and waiting -------------------------------------------------------------------------


def _send_and_wait(
    console: DemoConsole, environment: Environment, studies: Sequence[Study]
) -> list[tuple[Study, SentStudy]]:
    """Send the patients in turn, each when the previous one has its result."""
    sent: list[tuple[Study, SentStudy]] = []
    called, port = environment.target
    for study in studies:
        parts = len(study.parts)
        how = f"in {parts} associations" if parts > 1 else "in one association"
        text = f"scanner sends {study.scenario.case} to {called}: {len(study.files)} images {how}"
        with console.step(text):
            sent.append((study, scanner.send(study, called, port)))
        if study.scenario.ending == "delivered":
            _wait(console, environment, study)
    for study in studies:
        if study.scenario.ending != "delivered":
            _wait(console, environment, study)
    return sent


def _wait(console: DemoConsole, environment: Environment, study: Study) -> None:
    deadline = time.monotonic() + END_TIMEOUT_S
    with console.raw.status(f"{study.scenario.case}: in progress") as status:
        while not _ended(study, environment.journal):
            _check_routing(environment)
            if time.monotonic() > deadline:
                log = short(environment.run / "node.log")
                raise NotAsExpected(
                    f"{study.scenario.case} reached no final state in {END_TIMEOUT_S:.0f} s; see {log}"
                )
            status.update(f"{study.scenario.case}: {_now(study, environment.journal)}")
            time.sleep(_POLL_S)
    console.print_line(
        f"  {study.scenario.case} ({study.scenario.title}): {_now(study, environment.journal)}"
    )


def _series_of_interest(study: Study, journal: Journal) -> list[SeriesRow]:
    """Return the T2 SPACE series, or every series of a study that was sent without it."""
    rows = journal.series.of_study(study.uid)
    return [r for r in rows if r.key.series == study.series_uid] or rows


def _now(study: Study, journal: Journal) -> str:
    rows = _series_of_interest(study, journal)
    if not rows:
        return "not routed by the PACS yet"
    states = list(dict.fromkeys(str(row.state) for row in rows))
    return " and ".join(states)


def _ended(study: Study, journal: Journal) -> bool:
    rows = journal.series.of_study(study.uid)
    folders = {file.parent.name for file in study.files}
    return len(rows) >= len(folders) and all(row.state in ENDED for row in rows)


def _check_routing(environment: Environment) -> None:
    for job in environment.pacs.sent() if environment.pacs else ():
        if job["State"] == "Failure":
            raise NotRouted(
                f"Orthanc could not forward a series: {job.get('ErrorDescription', 'no reason given')};"
                f" see {short(environment.run / 'orthanc' / 'orthanc.log')}"
            )


# ---- report -------------------------------------------------------------------------------------

Results = list[tuple[Study, dict[str, Any]]]


def _report(
    console: DemoConsole, environment: Environment, sent: Sequence[tuple[Study, SentStudy]]
) -> Results:
    results: Results = []
    times: list[report.SeriesTiming] = []
    others: list[tuple[str, str, str, str]] = []
    for study, order in sent:
        for row in environment.journal.series.of_study(study.uid):
            folders = environment.journal.results.of_series(row.key)
            if folders:
                results.append((study, read_result(folders[-1].folder)))
                routed_s = max(0.0, row.last_at - order.acknowledged_at)
                times.append(
                    report.SeriesTiming(study, timeline(environment.journal, row.key), routed_s)
                )
            else:
                name = _description(environment.journal, row.key)
                others.append((study.scenario.case, name, str(row.state), row.reason))
    console.show("")
    console.show(report.measurements(results))
    for sentence in report.refused(results):
        console.show(f"  {sentence}")
    console.show("")
    console.show(report.times(times, with_pacs=environment.pacs is not None))
    console.show(report.inside(times))
    console.show(report.not_processed(others))
    return results


def _description(journal: Journal, key: SeriesKey) -> str:
    instance, *_ = journal.instances.of_series(key)
    return read_identity(instance.path).description or key.series


def _check_pacs(console: DemoConsole, environment: Environment, results: Results) -> None:
    if environment.pacs is None:
        return
    for study, result in results:
        for item in result["objects"]:
            if not environment.pacs.holds(item["sop_instance"]):
                raise NotAsExpected(
                    f"{study.scenario.case}: {item['file']} is not in Orthanc; see {environment.run / 'node.log'}"
                )
    count = sum(len(result["objects"]) for _, result in results)
    console.print_line(f"Orthanc holds all {count} objects of the results")


def _where(console: DemoConsole, environment: Environment, results: Results, *, keep: bool) -> None:
    console.print_line(
        f"results as files: {short(environment.run / 'state' / 'results')}, one folder for each"
    )
    if environment.pacs is None:
        console.print_line(f"delivered to the folder {short(environment.delivered)}")
    command = short(Path(sys.executable).with_name("lumbar-node"))
    console.print_line(f"query the journal: {command} list --config {short(environment.config)}")
    if environment.viewer is None or not results:
        return
    console.print_line(
        "open in OHIF:" if keep else "open in OHIF (only while the servers are up: KEEP=1):"
    )
    for study, _ in results:
        console.print_line(f"  {study.scenario.case}: {environment.viewer.link(study.uid)}")


def check_endings(studies: Sequence[Study], journal: Journal) -> list[str]:
    """Return one sentence per study whose T2 SPACE series ended in another state than its scenario says."""
    wrong = []
    for study in studies:
        states = [str(row.state) for row in _series_of_interest(study, journal)]
        if any(state != study.scenario.ending for state in states) or not states:
            ended = ", ".join(states) or "not received by the node"
            wrong.append(
                f"{study.scenario.case} ended as {ended} instead of {study.scenario.ending}"
            )
    return wrong


def _stay(console: DemoConsole) -> None:
    console.show("\nThe servers keep running. Ctrl-C stops them.")
    try:
        signal.pause()
    except KeyboardInterrupt:
        console.print_line("stopping the servers")
