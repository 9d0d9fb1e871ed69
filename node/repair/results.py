"""Results: folders without a row, rows whose folder is gone or holds other bytes than were written."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from node.durable import PART
from node.journal.journal import Journal
from node.journal.rows import ResultRow, SeriesKey
from node.journal.states import SeriesState
from node.repair.aside import move_aside
from node.repair.objects import Item
from node.store.check import UNREADABLE, result_faults

BY: Final = "doctor --repair"


@dataclass(frozen=True, slots=True)
class ResultRepair:
    """Mends the folder of results."""

    folder: Path
    journal: Journal
    aside: Path
    quick: bool = False

    def run(self) -> Iterator[Item]:
        """Mend rows and folders, and say each."""
        known: set[str] = set()
        for series in self.journal.series.in_states():
            rows = self.journal.results.all_of_series(series.key)
            newest = next((r for r in reversed(rows) if not r.inputs), None)
            for row in rows:
                known.add(row.folder.name)
                if row.purged_at is None:
                    yield from self._mend(row, series.key, series.state, is_newest=row is newest)
        yield from self._unknown(known)

    def _mend(
        self, row: ResultRow, key: SeriesKey, state: SeriesState, *, is_newest: bool
    ) -> Iterator[Item]:
        subject = str(row.folder)
        missing = not row.folder.is_dir()
        faults = [] if missing else [f for f in result_faults(row.folder, quick=self.quick) if f]
        if not missing and not faults:
            return
        kind = "result-missing" if missing else "result-damaged"
        fault = "the folder is missing" if missing else faults[0]
        if UNREADABLE in fault and "result.json" not in fault:
            yield kind, subject, f"{fault}; check the disk", True
            return
        moved = "" if missing else f", moved to {move_aside(row.folder, self.aside)}"
        self.journal.purges.record_missing_result(row.result_id)
        if is_newest and state is SeriesState.ENCODED:
            self.journal.repairs.make_again(key, fault, BY)
            yield kind, subject, f"{fault}{moved}; it is made again, with new UIDs", False
        else:
            delivered = f"its series is {state}" if is_newest else "a later one took its place"
            yield kind, subject, f"{fault}{moved}; recorded as gone: {delivered}", False

    def _unknown(self, known: set[str]) -> Iterator[Item]:
        folders = sorted(p for p in self.folder.iterdir() if p.is_dir())
        for path in folders:
            if path.name in known:
                continue
            if not path.name.endswith(PART):
                place = move_aside(path, self.aside)
                yield "result-unknown", str(path), f"of input that changed while it was made; moved to {place}", False  # fmt: skip
