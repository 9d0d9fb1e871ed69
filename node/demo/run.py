"""The demonstration: synthetic patients → PACS → node → PACS, with the truth beside what was measured."""

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

from dicomseg.errors import InputRefused, LumbarError
from dicomseg.read import header as headers
from node.demo import report as table
from node.demo import scanner, servers
from node.demo.console import Stage, short
from node.demo.environment import Site, bring_up
from node.demo.scanner import Sent, Study
from node.demo.scenarios import CAST, Role
from node.journal.journal import Journal
from node.journal.rows import SeriesKey, SeriesRow
from node.journal.states import SeriesState
from node.observe.explain import timeline
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
    """A study did not end as it must; `lumbar-node why` with its study says what happened."""

    code = "demo-ending"


class NotRouted(LumbarError):
    """The PACS could not forward a series to the node; its log and the node's say why."""

    code = "demo-routing"
    exit_code = 5


def main(
    *, keep: bool, patients: int, out: Path, no_servers: bool, cast: Sequence[Role] = CAST
) -> int:
    """Run the demonstration; returns 0, or the exit code of the step that failed.

    keep: leave the servers up until Ctrl-C. patients: how many that get a result. no_servers: a
    plain folder takes the PACS's place.
    """
    stage = Stage(Console(), out.resolve())
    with_result = [role for role in cast if role.ending == "delivered"][:patients]
    chosen = [*(role for role in cast if role.ending != "delivered"), *with_result]
    try:
        with _ordered_end(), ExitStack() as stack:
            _run(stage, chosen, stack, keep=keep, with_pacs=not no_servers)
    except LumbarError as error:
        stage.show(f"[red]demo:[/red] {error}")
        return error.exit_code
    except KeyboardInterrupt:
        stage.say("stopped before the end; every server is down")
        return INTERRUPTED
    return 0


@contextmanager
def _ordered_end() -> Iterator[None]:
    """Treat SIGTERM as Ctrl-C, so that no server outlives the demonstration."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _run(
    stage: Stage, cast: Sequence[Role], stack: ExitStack, *, keep: bool, with_pacs: bool
) -> None:
    if with_pacs and servers.find_orthanc() is None:
        stage.say("Orthanc or its DICOMweb plugin is missing (apt install orthanc-dicomweb):")
        stage.say("the scanner sends to the node itself, and a plain folder takes the results")
        with_pacs = False
    shutil.rmtree(stage.out / "run", ignore_errors=True)
    (stage.out / "run").mkdir(parents=True)
    studies = _paint(stage, cast)
    site = bring_up(stage, stack, with_pacs=with_pacs)
    sent = _send_and_wait(stage, site, studies)
    results = _tell(stage, site, sent)
    _check_pacs(stage, site, results)
    _where(stage, site, results, keep=keep)
    wrong = check_endings(studies, site.journal)
    if wrong:
        raise NotAsExpected(f"{'; '.join(wrong)}; see {short(site.run / 'node.log')}")
    if keep:
        _stay(stage)


def _paint(stage: Stage, cast: Sequence[Role]) -> tuple[Study, ...]:
    def done(role: Role) -> None:
        stage.say(f"  {role.case}: {role.title}")

    with stage.step(f"painted {len(cast)} synthetic patients"):
        return scanner.make_studies(cast, stage.out / "studies", done)


# ---- sending and waiting -------------------------------------------------------------------------


def _send_and_wait(stage: Stage, site: Site, studies: Sequence[Study]) -> list[tuple[Study, Sent]]:
    """Send one patient after the other; the next one comes when the one before has its result."""
    sent: list[tuple[Study, Sent]] = []
    called, port = site.target
    for study in studies:
        parts = len(study.parts)
        how = f"in {parts} associations" if parts > 1 else "in one association"
        text = f"scanner sends {study.role.case} to {called}: {len(study.files)} images {how}"
        with stage.step(text):
            sent.append((study, scanner.send(study, called, port)))
        if study.role.ending == "delivered":
            _wait(stage, site, study)
    for study in studies:
        if study.role.ending != "delivered":
            _wait(stage, site, study)
    return sent


def _wait(stage: Stage, site: Site, study: Study) -> None:
    deadline = time.monotonic() + END_TIMEOUT_S
    with stage.console.status(f"{study.role.case}: on its way") as status:
        while not _ended(study, site.journal):
            _check_routing(site)
            if time.monotonic() > deadline:
                log = short(site.run / "node.log")
                raise NotAsExpected(
                    f"{study.role.case} did not come to an end in {END_TIMEOUT_S:.0f} s; see {log}"
                )
            status.update(f"{study.role.case}: {_now(study, site.journal)}")
            time.sleep(_POLL_S)
    stage.say(f"  {study.role.case} ({study.role.title}): {_now(study, site.journal)}")


def _series_of_interest(study: Study, journal: Journal) -> list[SeriesRow]:
    """The T2 SPACE series; every series of a study that was sent without it."""
    rows = journal.study_series(study.uid)
    return [r for r in rows if r.key.series == study.series_uid] or rows


def _now(study: Study, journal: Journal) -> str:
    rows = _series_of_interest(study, journal)
    if not rows:
        return "the PACS has not routed it yet"
    states = list(dict.fromkeys(str(row.state) for row in rows))
    return " and ".join(states)


def _ended(study: Study, journal: Journal) -> bool:
    rows = journal.study_series(study.uid)
    folders = {file.parent.name for file in study.files}
    return len(rows) >= len(folders) and all(row.state in ENDED for row in rows)


def _check_routing(site: Site) -> None:
    for job in site.pacs.sent() if site.pacs else ():
        if job["State"] == "Failure":
            raise NotRouted(
                f"Orthanc could not forward a series: {job.get('ErrorDescription', 'no reason given')};"
                f" see {short(site.run / 'orthanc' / 'orthanc.log')}"
            )


# ---- telling -------------------------------------------------------------------------------------

Results = list[tuple[Study, dict[str, Any]]]


def _tell(stage: Stage, site: Site, sent: Sequence[tuple[Study, Sent]]) -> Results:
    results: Results = []
    times: list[table.Way] = []
    others: list[tuple[str, str, str, str]] = []
    for study, order in sent:
        for row in site.journal.study_series(study.uid):
            found = site.journal.results_of(row.key)
            if found:
                results.append((study, read_result(found[-1].folder)))
                routed_s = max(0.0, row.last_at - order.acknowledged_at)
                times.append(table.Way(study, timeline(site.journal, row.key), routed_s))
            else:
                name = _description(site.journal, row.key)
                others.append((study.role.case, name, str(row.state), row.reason))
    stage.show("")
    stage.show(table.measurements(results))
    for sentence in table.refused(results):
        stage.show(f"  {sentence}")
    stage.show("")
    stage.show(table.times(times, with_pacs=site.pacs is not None))
    stage.show(table.inside(times))
    stage.show(table.not_processed(others))
    return results


def _description(journal: Journal, key: SeriesKey) -> str:
    first = journal.instances_of(key)[0]
    try:
        return headers.read_instance(first.path).series_description
    except InputRefused:
        return key.series


def _check_pacs(stage: Stage, site: Site, results: Results) -> None:
    if site.pacs is None:
        return
    for study, result in results:
        for item in result["objects"]:
            if not site.pacs.holds(item["sop_instance"]):
                raise NotAsExpected(
                    f"{study.role.case}: {item['file']} is not in Orthanc; see {site.run / 'node.log'}"
                )
    count = sum(len(result["objects"]) for _, result in results)
    stage.say(f"Orthanc holds all {count} objects of the results")


def _where(stage: Stage, site: Site, results: Results, *, keep: bool) -> None:
    stage.say(f"results as files: {short(site.run / 'state' / 'results')}, one folder for each")
    if site.pacs is None:
        stage.say(f"delivered to the folder {short(site.delivered)}")
    command = short(Path(sys.executable).with_name("lumbar-node"))
    stage.say(f"what the node knows: {command} list --config {short(site.config)}")
    if site.viewer is None or not results:
        return
    stage.say("open in OHIF:" if keep else "open in OHIF (only while the servers are up: KEEP=1):")
    for study, _ in results:
        stage.say(f"  {study.role.case}: {site.viewer.link(study.uid)}")


def check_endings(studies: Sequence[Study], journal: Journal) -> list[str]:
    """One sentence per study whose T2 SPACE series ended in another state than its role says."""
    wrong = []
    for study in studies:
        states = [str(row.state) for row in _series_of_interest(study, journal)]
        if any(state != study.role.ending for state in states) or not states:
            ended = ", ".join(states) or "never seen by the node"
            wrong.append(f"{study.role.case} ended as {ended} instead of {study.role.ending}")
    return wrong


def _stay(stage: Stage) -> None:
    stage.show("\nThe servers stay up. Ctrl-C ends them.")
    try:
        signal.pause()
    except KeyboardInterrupt:
        stage.say("stopping the servers")
