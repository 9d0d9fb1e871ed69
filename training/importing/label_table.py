"""The table from label or segment to structure, and what a set of labels covers."""

from __future__ import annotations

import tomllib
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, cast, get_args

from dicomseg.read.segments import part_of_name
from dicomseg.structures import BY_ID, STRUCTURES, Side, StructureId
from training.data.cases import BODY_NAMES, DISC_NAMES, IGNORED
from training.errors import LabelTableError

BACKGROUND: Final = "background"


@dataclass(frozen=True, slots=True)
class Target:
    """The meaning of a label: a structure, one side of it, a further disc or body of the spine, or (None) background."""

    structure: StructureId | None
    side: Side | None = None
    further: int = 0
    """Value in `Case.spine` of a disc or body that is not one of our structures: 3 (L3), 203 (L3/4), …; or `IGNORED`."""

    @property
    def text(self) -> str:
        """As in the table, e.g. ``pm.left`` or ``disc.l34``."""
        if self.further:
            return next(name for name, value in FURTHER.items() if value == self.further)
        return ".".join(part for part in (self.structure or BACKGROUND, self.side) if part)

    @property
    def spine(self) -> int:
        """Value in `Case.spine`, 0 for what is not of the spine."""
        if self.further == IGNORED:
            return 0
        return self.further or (_SPINE.get(self.structure, 0) if self.structure else 0)

    @property
    def is_drawn(self) -> bool:
        """Whether voxels with this label are looked at."""
        return self.structure is not None or self.further > 0


_SPINE: Final[Mapping[StructureId, int]] = {"l5": 1, "l4": 2, "ivd": 202, "dura": 100}
FURTHER: Final[Mapping[str, int]] = {
    name: value
    for kind, names, first in (("disc", DISC_NAMES, 201), ("body", BODY_NAMES, 1))
    for value, name in enumerate((f"{kind}.{n}" for n in names), start=first)
    if value not in _SPINE.values()
} | {"ignored": IGNORED}
"""Names of the table beside our structures: discs and bodies of the complete spine, and what nothing is known of."""


LabelTable = Mapping[str, Target]
"""Label value, segment number or segment label, as text, to its target."""


def read_table(file: Path) -> LabelTable:
    """Read the table `[labels]` of a TOML file.

    Raises:
        LabelTableError: unreadable, without `[labels]`, or an entry that names no structure.
    """
    try:
        with file.open("rb") as opened:
            labels = tomllib.load(opened).get("labels")
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise LabelTableError(f"{file}: {error}; give a TOML file with [labels]") from error
    if not isinstance(labels, dict) or not labels:
        raise LabelTableError(f'{file}: no table [labels]; write lines such as 1 = "l4" under it')
    table = {key: _target(file, key, value) for key, value in labels.items()}
    if all(target.structure is None for target in table.values()):
        raise LabelTableError(f"{file}: every label is background; name at least the disc, ivd")
    return table


def entry_of(table: LabelTable | None, *names: str) -> Target | None:
    """Return what the table says of the first of these names that it holds, without regard to their case."""
    if not table:
        return None
    plain = {plain_name(key): target for key, target in table.items()}
    return next((plain[n] for n in map(plain_name, names) if n in plain), None)


def plain_name(name: str) -> str:
    """Return a name as names are compared: without case, surrounding space or another composition of its letters."""
    return unicodedata.normalize("NFC", name).strip().casefold()


def target_of_name(name: str) -> Target | None:
    """Return what a name of ours means, in any case: a structure, a side of one, a further disc or body; else None."""
    part, further = part_of_name(name), FURTHER.get(plain_name(name))
    if part is not None:
        return Target(part.structure, part.side)
    return None if further is None else Target(None, further=further)


def _target(file: Path, key: str, value: object) -> Target:
    name, _, side = str(value).partition(".")
    if value == BACKGROUND:
        return Target(None)
    if isinstance(value, str) and value in FURTHER:
        return Target(None, further=FURTHER[value])
    known = name in BY_ID and side in {"", *get_args(Side)}
    if (
        not isinstance(value, str)
        or not known
        or (side and not BY_ID[cast("StructureId", name)].paired)
    ):
        paired = ", ".join(f"{s.id}.left, {s.id}.right" for s in STRUCTURES if s.paired)
        raise LabelTableError(
            f"{file}: {key} = {value!r} is not a structure; known: {', '.join(BY_ID)}, {paired}, {BACKGROUND},"
            f" {', '.join(FURTHER)}"
        )
    return Target(cast("StructureId", name), cast("Side", side) if side else None)


def covered(targets: Iterable[Target]) -> tuple[StructureId, ...]:
    """Return the structures whose absence means background: labelled as one, or on both sides."""
    labelled = set(targets)
    return tuple(
        s.id
        for s in STRUCTURES
        if Target(s.id) in labelled or {Target(s.id, "left"), Target(s.id, "right")} <= labelled
    )


def half_covered(targets: Iterable[Target]) -> tuple[str, ...]:
    """Return the sides without their other side; the network has one channel, so they cannot be used."""
    labelled = list(targets)
    complete = covered(labelled)
    return tuple(
        t.text for t in labelled if t.structure is not None and t.structure not in complete
    )
