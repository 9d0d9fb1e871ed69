"""Take a case of a correction back: the rows say so, with who and why, and then its folder goes.

The segmentation itself and the images stay in the spool; `purge` removes those.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from node.errors import UnknownUid
from node.journal.corrections import CorrectionRow, CorrectionState
from node.journal.journal import Journal
from node.review.kept import RECORD, CorrectionFolders

_WITH_CASE: Final = (CorrectionState.ACCEPTED, CorrectionState.REPLACED)


@dataclass(frozen=True, slots=True)
class Removal:
    """What would go. rows: the segmentations of the case. files: below its folder. freed: bytes of its objects that no
    other name holds."""

    entry: str
    rows: tuple[CorrectionRow, ...]
    files: int
    freed: int


def plan_removal(journal: Journal, state: Path, name: str) -> Removal:
    """Return what the removal of a case takes. name: of its folder, or a SOP Instance UID of its segmentations.

    Raises:
        UnknownUid: no correction that is kept has this name.
    """
    rows = [r for r in journal.corrections.all() if r.state in _WITH_CASE and r.entry]
    entries = {r.entry for r in rows if name in {r.entry, r.sop_instance}}
    if not entries:
        raise UnknownUid(f"{name} is no correction that is kept; `lumbar-node corrections` lists them")  # fmt: skip
    entry = min(entries)
    folders = CorrectionFolders(state)
    files = [
        p
        for area in (folders.accepted, folders.replaced)
        for p in (area / entry).glob("*")
        if p.is_file()
    ]
    sizes = [p.stat() for p in files if p.name != RECORD]
    freed = sum(s.st_size for s in sizes if s.st_nlink == 1)
    return Removal(entry, tuple(r for r in rows if r.entry == entry), len(files), freed)


def remove_case(journal: Journal, state: Path, removal: Removal, by: str, reason: str) -> None:
    """Carry a plan out; what a kill leaves of the folder, the next start of the service removes.

    Raises:
        ChangedMeanwhile: another segmentation changed the case since it was planned.
    """
    journal.corrections.remove(removal.rows, by, reason)
    CorrectionFolders(state).remove(removal.entry)
