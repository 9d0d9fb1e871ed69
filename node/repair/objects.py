"""Objects: files without a row, rows whose file is gone or is not what was received."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from node.journal.journal import Journal
from node.journal.rows import InstanceRow
from node.journal.states import InstanceState, SeriesState
from node.receive.recover import adopt
from node.repair.aside import move_aside
from node.store.check import MISSING, UNREADABLE, object_fault
from node.store.spool import Spool

Item = tuple[str, str, str, bool]
"""Kind, subject, what was done, and whether it was left."""

_NEEDS_OBJECTS: Final = frozenset(
    {
        SeriesState.RECEIVING,
        SeriesState.COMPLETE,
        SeriesState.INCOMPLETE,
        SeriesState.SELECTED,
        SeriesState.PROCESSING,
        SeriesState.FAILED,
    }
)
"""Series that are judged again without a lost object. A finished one is not: what is left of it would make a worse
result in the place of a good one."""
_ENDINGS: Final = {
    "stored": "it got its row, and its series is received",
    "set aside": "it cannot be used: it is in quarantine, with a row and the reason",
}


@dataclass(frozen=True, slots=True)
class ObjectRepair:
    """Mends spool and quarantine."""

    spool: Spool
    journal: Journal
    aside: Path
    quick: bool = False

    def run(self) -> Iterator[Item]:
        """Mend rows and files, and say each."""
        lost = list(self._lost())
        homeless = self._homeless()
        for row, fault in lost:
            found = homeless.pop(row.path.name, None) if fault == MISSING else None
            yield self._returned(row, found) if found is not None else self._mend(row, fault)
        yield from self._adopted()

    # ---- rows whose file is not what it was ----

    def _lost(self) -> Iterator[tuple[InstanceRow, str]]:
        for row in self.journal.instances.iterate():
            if row.state in {InstanceState.PURGING, InstanceState.PURGED}:
                continue
            fault = object_fault(
                row.path, row.bytes, row.digest, row.transfer_syntax_uid, quick=self.quick
            )
            if fault:
                yield row, fault

    def _homeless(self) -> dict[str, Path]:
        """Return the files without a row, by the name that the object's row would give them."""
        known, directory = self.journal.instances.paths(), self.spool.directory
        areas = (directory.spool, directory.quarantine, directory.aside)
        return {
            p.name: p for area in areas if area.is_dir() for p in self.spool.orphans(known, area)
        }

    def _returned(self, row: InstanceRow, found: Path) -> Item:
        if not self.spool.intact(found, row.digest.partition("-")[0]):
            return self._mend(row, MISSING)
        self.spool.bring_back(found, row.path)
        return "object-missing", str(row.path), f"brought back from {found}", False

    def _mend(self, row: InstanceRow, fault: str) -> Item:
        kind = "object-missing" if fault == MISSING else "object-damaged"
        subject = str(row.path)
        if fault.startswith(UNREADABLE):
            return kind, subject, f"{fault}; check the disk", True
        if row.state is not InstanceState.STORED:
            if fault != MISSING:
                return kind, subject, f"{fault}; it is {row.state} and not used", True
            self.journal.purges.record_missing(row.sop_instance_uid, row.digest)
            return kind, subject, f"recorded as gone: it was {row.state} and not used", False
        moved = "" if fault == MISSING else f", the file is {move_aside(row.path, self.aside)}"
        reopen = self.journal.series.get(row.series).state in _NEEDS_OBJECTS
        self.journal.instances.set_aside(
            row.sop_instance_uid, row.digest, f"{fault}; send the series again", damaged=True, reopen=reopen
        )  # fmt: skip
        then = "its series is judged again without it" if reopen else "its series stays as it is"
        return kind, subject, f"{fault}{moved}; {then}, and takes the object when it is sent again", False  # fmt: skip

    # ---- files without a row ----

    def _adopted(self) -> Iterator[Item]:
        endings: dict[Path, str] = {}
        adopt(self.spool, self.journal, endings.__setitem__)
        for path, ending in endings.items():
            if ending in _ENDINGS:
                yield "object-unknown", str(path), _ENDINGS[ending], False
        known, directory = self.journal.instances.paths(), self.spool.directory
        for area in (directory.spool, directory.quarantine):
            for path in self.spool.orphans(known, area):
                place = move_aside(path, self.aside)
                yield "object-unknown", str(path), f"its object has a row with another file; moved to {place}", False  # fmt: skip
