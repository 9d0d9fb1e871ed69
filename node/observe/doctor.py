"""`doctor`: check the journal against the files on disk; read only.

Whatever reads a file returns a finding, not an exception.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from node.durable import PART
from node.journal.journal import Journal
from node.journal.rows import ResultRow, SeriesKey
from node.journal.states import InstanceState
from node.observe.attention import attention
from node.observe.corrections import missing_cases
from node.store.check import MISSING, object_fault, result_faults
from node.store.layout import StateDirectory
from node.store.lock import is_running

NEW_S: Final = 60.0
"""Age below which a file of a running node may be on its way into the journal."""
REPORT_S: Final = 2.0
"""Seconds between two lines of progress."""
_FOR_OTHERS: Final = 0o007
_ENTER: Final = 0o001


@dataclass(frozen=True, slots=True)
class Finding:
    """A difference between journal and disk, or what needs attention, and the remedy.

    path: the first file, or the series, destination or step. count: of such findings.
    """

    kind: str
    path: str
    remedy: str
    count: int = 1


@dataclass(frozen=True, slots=True)
class Check:
    """Options. quick: compare sizes instead of digests. progress: receives a line now and then."""

    state: Path
    quick: bool = False
    progress: Callable[[str], None] = lambda _: None


def examine(journal: Journal, check: Check) -> list[Finding]:
    """Compare rows with files, both ways, and every file with its digest; add what needs attention.

    Raises:
        JournalDamaged: a page of the journal is damaged.
    """
    journal.database.check_pages()
    running = is_running(check.state)
    return [
        *_objects(journal, check),
        *_unknown_objects(journal, check.state, running=running),
        *_results(journal, check),
        *_unknown_results(journal, StateDirectory(check.state).results, running=running),
        *_unfinished_purges(journal, running=running),
        *_missing_cases(journal, check.state),
        *_permissions(check.state),
        *_attention(journal),
    ]


# ---- objects -------------------------------------------------------------------------------------


def _objects(journal: Journal, check: Check) -> Iterator[Finding]:
    """Yield objects whose file is missing or is not what was received, per series."""
    report = _Reporter(check.progress, "objects")
    faults: dict[tuple[SeriesKey, str], list[Path]] = {}
    for row in journal.instances.iterate():
        report.count_one()
        if row.state in _WITHOUT_FILE:
            continue
        syntax = row.transfer_syntax_uid
        fault = object_fault(row.path, row.bytes, row.digest, syntax, quick=check.quick)
        if fault:
            faults.setdefault((row.series, fault), []).append(row.path)
    for (key, fault), paths in faults.items():
        kind = "object-missing" if fault == MISSING else "object-damaged"
        remedy = f"{fault}; send series {key.series or 'without a UID'} again"
        yield Finding(kind, str(paths[0]), remedy, len(paths))


_WITHOUT_FILE: Final = (InstanceState.PURGING, InstanceState.PURGED)


def _unknown_objects(journal: Journal, state: Path, *, running: bool) -> Iterator[Finding]:
    known = journal.instances.paths()
    directory = StateDirectory(state)
    for area in (directory.spool, directory.quarantine):
        # What is being received now has no row yet.
        files = [p for p in _files(area) if p.suffix != PART or not running]
        unknown = [p for p in files if str(p) not in known and not (running and _is_new(p))]
        for path in unknown[:1]:
            remedy = "never acknowledged to the sender; the next start, or `doctor --repair`, keeps or removes it"
            yield Finding("object-unknown", str(path), remedy, len(unknown))


def _files(folder: Path) -> list[Path]:
    return sorted(
        Path(parent) / name for parent, _, names in os.walk(folder) for name in names
    )  # os.walk skips what it may not read


def _is_new(path: Path) -> bool:
    try:
        return time.time() - path.stat().st_mtime < NEW_S
    except OSError:
        return True  # removed in the meantime


# ---- results -------------------------------------------------------------------------------------


def _results(journal: Journal, check: Check) -> Iterator[Finding]:
    report = _Reporter(check.progress, "results")
    for row in _all_results(journal):
        report.count_one()
        if row.purged_at is not None:
            continue
        if not row.folder.is_dir():
            if row.superseded_by:  # it may be removed
                continue
            yield Finding("result-missing", str(row.folder), f"lumbar-node retry {row.result_id}")
            continue
        damaged = [fault for fault in result_faults(row.folder, quick=check.quick) if fault]
        if damaged:
            remedy = (
                f"{damaged[0]}; remove the folder and `lumbar-node retry {row.result_id} --force`"
            )
            yield Finding("result-damaged", str(row.folder), remedy, len(damaged))


def _all_results(journal: Journal) -> list[ResultRow]:
    return [r for row in journal.series.in_states() for r in journal.results.all_of_series(row.key)]


def _unknown_results(journal: Journal, folder: Path, *, running: bool) -> Iterator[Finding]:
    known = {str(r.folder) for r in _all_results(journal)}
    for path in _folders(folder):
        if str(path) in known or (running and _is_new(path)):
            continue
        unfinished = path.name.endswith(PART)
        remedy = (
            "unfinished; `doctor --repair` removes it"
            if unfinished
            else "result of superseded input; `doctor --repair` moves it aside"
        )
        yield Finding("result-unknown", str(path), remedy)


def _folders(folder: Path) -> list[Path]:
    try:
        return sorted(p for p in folder.iterdir() if p.is_dir())
    except OSError:
        return []


def _unfinished_purges(journal: Journal, *, running: bool) -> Iterator[Finding]:
    """Yield series of which a killed purge has left something; a running node removes it within a minute."""
    for leaving in () if running else journal.purges.unfinished():
        remedy = (
            "a purge was ended before its end; the next start, or `doctor --repair`, finishes it"
        )
        yield Finding("purge-unfinished", leaving.key.series, remedy, len(leaving.files))


def _missing_cases(journal: Journal, state: Path) -> Iterator[Finding]:
    for entry, folder in missing_cases(journal, state):
        command = f"lumbar-node corrections --remove {entry} --reason TEXT --yes"
        yield Finding("correction-missing", str(folder), f"gone, so it is no case any more; `{command}` records that")  # fmt: skip


# ---- the rest ------------------------------------------------------------------------------------


def _permissions(state: Path) -> Iterator[Finding]:
    """Yield what users outside the node's group may read or enter."""
    if not _mode(state) & _ENTER:
        return
    for path in (state, *_children(state)):
        if _mode(path) & _FOR_OTHERS:
            yield Finding("permissions", str(path), f"accessible to every user; chmod o= {path}")


def _children(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _mode(path: Path) -> int:
    try:
        return path.lstat().st_mode
    except OSError:
        return 0


def _attention(journal: Journal) -> Iterator[Finding]:
    """Yield what is stuck or quarantined; incomplete and failed series are for `status`."""
    for m in attention(journal):
        if (
            m.kind != "series" and m.state != "waiting"
        ):  # a delivery that waits for its next attempt is in order
            kind = f"{m.kind}-{m.state}" if m.kind in {"delivery", "withdrawal"} else m.kind
            yield Finding(kind, m.subject, f"{m.reason}; {m.remedy}".removesuffix("; "), m.count)


@dataclass(slots=True)
class _Reporter:
    """Report progress every few seconds."""

    print_line: Callable[[str], None]
    what: str
    count: int = 0
    last: float = 0.0

    def count_one(self) -> None:
        self.count += 1
        now = time.monotonic()
        self.last = self.last or now
        if now - self.last > REPORT_S:
            self.last = now
            self.print_line(f"{self.count} {self.what} compared")


def finding_lines(findings: Iterable[Finding]) -> list[str]:
    """Return findings as lines for people."""
    return [f"{_times(f)}{f.kind}: {f.path}: {f.remedy}" for f in findings]


def _times(finding: Finding) -> str:
    return f"{finding.count} × " if finding.count > 1 else ""
