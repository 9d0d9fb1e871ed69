"""SPIDER as published: `images/N_t2.mha` and `masks/N_t2.mha`, every level labelled, vertebrae with their arches.

What is taken is what `prepare` takes of the reduced copy: the bodies of L4 and L5 without arches, the L4/5 disc, the canal,
and the labels of all other levels.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Final

from training.data.cases import BODY_NAMES, DISC_NAMES
from training.errors import SourceMissing
from training.importing.files import FilePair, find_pairs, load_pair, pending_pairs
from training.importing.label_table import LabelTable, Target
from training.importing.pairs import LabelledImage, PendingPair
from training.importing.spine import CANAL

RULE: Final = "spider"
"""Value of `--labels` that names this rule."""
MOST: Final = 25
"""Bodies and discs that SPIDER's numbers leave room for."""
PARTLY: Final = 100
"""Added to the number of a vertebra that the image shows in part: 101 to 125."""
_NAME: Final = re.compile(r"(\d+)_(t1|t2)(?:_SPACE)?", re.IGNORECASE)


def _table() -> LabelTable:
    """Return what each of SPIDER's values is; vertebrae and discs above the ninth are background."""
    table = {str(CANAL): Target("dura")}
    for n in range(1, MOST + 1):
        body = Target(None, further=n) if n <= len(BODY_NAMES) else Target(None)
        disc = Target(None, further=200 + n) if n <= len(DISC_NAMES) else Target(None)
        table |= {str(n): body, str(PARTLY + n): body, str(200 + n): disc}
    l5, l4 = Target("l5"), Target("l4")
    return table | {"1": l5, "101": l5, "2": l4, "102": l4, "202": Target("ivd")}


TABLE: Final = _table()


def patient_of(name: str) -> str:
    """Return the person's id as `prepare` writes it, of the number that begins a file's name; "" for any other name."""
    match = _NAME.fullmatch(name)
    return f"SPIDER-{int(match[1]):03d}" if match else ""


def pending(
    images: Path,
    labels: Path,
    patients: Mapping[str, str] | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> Iterator[PendingPair]:
    """Yield the T2 images of both folders with their masks, to be loaded later; T1 images are counted and left out.

    patients: as `files.pending` takes it; else the number in a name is the person.

    Raises:
        SourceMissing: no pairs.
    """
    pairs, others = [], 0
    for pair in find_pairs(images, labels):
        match = _NAME.fullmatch(pair.name)
        if match is not None and match[2].lower() == "t1":
            others += 1
        else:
            pairs.append(pair)
    if others:
        report(f"{others} T1 images are not imported: the model reads T2")
    if not pairs:
        raise SourceMissing(f"{images}: only T1 images; give the folder with SPIDER's T2 images")
    for pair, found in zip(pairs, pending_pairs(pairs, TABLE, patients, rule=RULE, load=_load), strict=True):  # fmt: skip
        public = patient_of(pair.name) if patients is None else ""
        yield replace(found, patient_id=public or found.patient_id, public_id=public)


def _load(pair: FilePair, table: LabelTable) -> LabelledImage:
    read = load_pair(pair, table)
    return replace(read, rules="spider", with_arches=True, labels_by="semiautomatic")
