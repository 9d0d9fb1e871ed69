"""What a source of labelled images yields: pairs to import, and an image with its masks."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import SimpleITK
from pydicom.dataset import Dataset

from dicomseg.structures import StructureId
from training.data.cases import CaseSource
from training.importing.label_table import Target

Mask = tuple[Target, SimpleITK.Image]
"""A structure, or one side of it, and its mask."""


@dataclass(frozen=True, slots=True, eq=False)
class LabelledImage:
    """An image with its labels, from any source.

    image: float32, any orientation, in LPS mm. masks: one soft mask in [0, 1] per label, uint8 or float32,
    on any grid of the same space. acquisition: card fields, without identifiers. labels_by: manual, automatic, …
    context: structures whose masks say where things are, and are no labels of the case. correction: for the card, where
    readers corrected a result. objects: DICOM data sets to be kept, if asked for.
    notes: what a person should know, a sentence each. rules: whose rules of drawing the labels follow, as the source of
    a case. with_arches: whether masks of vertebrae include their arches.
    """

    image: SimpleITK.Image
    masks: Sequence[Mask]
    acquisition: Mapping[str, Any] = field(default_factory=dict)
    labels_by: str = "unknown"
    context: frozenset[StructureId] = frozenset()
    correction: Mapping[str, Any] | None = None
    objects: Callable[[], Iterable[Dataset]] = tuple
    notes: tuple[str, ...] = ()
    rules: CaseSource = "imported"
    with_arches: bool = False


@dataclass(frozen=True, slots=True)
class PendingPair:
    """Image and labels to import: name for messages, patient, digest of the files, and how to load them.

    public_id: of a person of a public data set, who needs no pseudonym. named: whether a table names the person.
    """

    name: str
    patient_id: str
    issuer: str
    digest: str
    load: Callable[[], LabelledImage]
    public_id: str = ""
    named: bool = False
