"""`doctor`: compares the journal with what lies on disk; reads only."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from node.explain import read_result
from node.folder import PART
from node.journal import Journal
from node.records import SeriesRow
from node.states import DeliveryState


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that journal and disk do not agree on, and what to do."""

    kind: str
    path: str
    remedy: str


_SPOOL: Final = "spool"
_RESULTS: Final = "results"


def examine(journal: Journal, state: Path) -> list[Finding]:
    """Compare rows with files, both ways, and results with their digests."""
    series = journal.series_in()
    return [
        *_missing_objects(journal, series),
        *_unknown_objects(journal, state / _SPOOL),
        *_results(journal, series, state / _RESULTS),
        *_quarantine(journal),
        *_given_up(journal),
    ]


def _missing_objects(journal: Journal, series: list[SeriesRow]) -> Iterator[Finding]:
    for row in series:
        for instance in journal.instances_of(row.key):
            if not instance.path.is_file():
                yield Finding(
                    "object-missing", str(instance.path), f"send series {row.key.series} again"
                )


def _unknown_objects(journal: Journal, spool: Path) -> Iterator[Finding]:
    known = journal.paths()
    for path in sorted(p for p in spool.rglob("*") if p.is_file() and p.suffix != PART):
        if str(path) not in known:
            yield Finding(
                "object-unknown",
                str(path),
                "never acknowledged; the next start removes or adopts it",
            )


def _results(journal: Journal, series: list[SeriesRow], folder: Path) -> Iterator[Finding]:
    rows = [r for row in series for r in journal.results_of(row.key)]
    for row in rows:
        if not row.folder.is_dir():
            yield Finding("result-missing", str(row.folder), f"lumbar-node retry {row.result_id}")
        else:
            yield from _damaged(row.folder)
    known = {str(r.folder) for r in rows}
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.is_dir() and str(path) not in known:
            unfinished = path.name.endswith(PART)
            remedy = "unfinished; remove it" if unfinished else "of an outdated input; remove it"
            yield Finding("result-unknown", str(path), remedy)


def _damaged(folder: Path) -> Iterator[Finding]:
    for told in read_result(folder).get("objects", []):
        path = folder / told["file"]
        found = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
        if found != told["sha256"]:
            yield Finding("result-damaged", str(path), "remove the folder and retry with --force")


def _quarantine(journal: Journal) -> Iterator[Finding]:
    for row in journal.quarantined():
        yield Finding("quarantined", str(row.path), f"{row.reason}; look at it")


def _given_up(journal: Journal) -> Iterator[Finding]:
    for row in journal.deliveries_in(DeliveryState.DEAD):
        if row.detail != "superseded":
            remedy = f"{row.detail}; lumbar-node retry {row.result_id}"
            yield Finding("delivery-dead", f"{row.result_id} → {row.destination}", remedy)
