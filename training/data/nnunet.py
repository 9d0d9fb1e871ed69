"""Prepared cases as a raw dataset of nnU-Net, version 2: images, label maps, `dataset.json`, our folds."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import SimpleITK

from dicomseg.errors import InputRefused
from dicomseg.structures import BY_ID, STRUCTURES, StructureId
from dicomseg.volume import Array
from training.data.cases import IGNORED, Case, load_case, read_card_value
from training.data.folds import VALIDATION_SHARE, Fold
from training.data.prepare import to_sitk_image
from training.errors import SourceMissing, UsageError

DATASET: Final = "dataset.json"
SPLITS: Final = "splits_final.json"
PATIENTS: Final = "patients.csv"
IMAGES, LABELS = "imagesTr", "labelsTr"
IGNORE: Final = "ignore"
"""nnU-Net's name of the label that losses leave out; it has the highest value."""
BACKGROUND: Final = "background"
FILE_ENDINGS: Final = (".nii.gz", ".nii", ".mha", ".nrrd")


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written. cases: ids. refused: one line for each case that was not."""

    folder: Path
    cases: tuple[str, ...]
    structures: tuple[StructureId, ...]
    refused: tuple[str, ...]


def common_structures(paths: Sequence[Path]) -> tuple[StructureId, ...]:
    """Return the structures that every case labels: nnU-Net cannot leave one out in a part of its cases.

    Raises:
        SourceMissing: there is none, or no case.
    """
    named = [set(_labelled(path)) for path in paths]
    common = tuple(s.id for s in STRUCTURES if named and all(s.id in n for n in named))
    if not common:
        raise SourceMissing(
            f"{len(paths)} cases have no labelled structure in common; choose with --structure"
        )
    return common


def labelling(paths: Sequence[Path], structures: Collection[StructureId]) -> list[Path]:
    """Return the cases that label all of these structures. Raises `CaseUnreadable`."""
    return [path for path in paths if set(structures) <= set(_labelled(path))]


def _labelled(path: Path) -> list[str]:
    labelled = read_card_value(path, "labelled")
    return [str(name) for name in labelled] if isinstance(labelled, list) else []


def dataset_folder(out: Path, number: int, name: str) -> Path:
    """Return the folder of a dataset below `nnUNet_raw`, by nnU-Net's rule for its name.

    Raises:
        UsageError: a number or name that nnU-Net does not take, or another dataset of this number.
    """
    if not 1 <= number <= 999 or not name.replace("_", "").isalnum() or not name.isascii():
        raise UsageError(f"Dataset{number:03d}_{name}: give 1 to 999, and a name of letters and digits")  # fmt: skip
    folder = out / f"Dataset{number:03d}_{name}"
    others = [p.name for p in out.glob(f"Dataset{number:03d}_*") if p != folder]
    if others or (folder / DATASET).exists():
        taken = others[0] if others else folder.name
        raise UsageError(f"{out}: {taken} is there already; remove it or give another --dataset")
    return folder


def export_cases(
    paths: Sequence[Path],
    structures: Sequence[StructureId],
    folder: Path,
    file_ending: str = ".nii.gz",
    report: Callable[[str], None] = lambda _: None,
) -> Exported:
    """Write cases as images and label maps, and then `dataset.json`, with which the dataset exists.

    Values are 1, 2, … in the order of `structures`; `IGNORED` voxels take the next one, named `ignore`. What a case labels
    beside them is background. A case that cannot be read is left out and named.

    Raises:
        UsageError: a file ending that is not one of `FILE_ENDINGS`.
        SourceMissing: no case could be read.
    """
    if file_ending not in FILE_ENDINGS:
        raise UsageError(f"{file_ending} is no ending of a volume; give one of {', '.join(FILE_ENDINGS)}")  # fmt: skip
    for kind in (IMAGES, LABELS):
        (folder / kind).mkdir(parents=True, exist_ok=True)
    values = {name: n for n, name in enumerate(structures, start=1)}
    written: dict[str, str] = {}
    refused, licences, ignores = [], set(), False
    for path in paths:
        try:
            case = load_case(path)
        except InputRefused as refusal:
            refused.append(str(refusal))
            report(refused[-1])
            continue
        labels = nnunet_labels(case.labels, values)
        _write(case, case.image, folder / IMAGES / f"{case.case_id}_0000{file_ending}")
        _write(case, labels, folder / LABELS / f"{case.case_id}{file_ending}")
        written[case.case_id] = case.patient_id
        licences.add(str(case.card.get("licence", "")))
        ignores = ignores or bool((labels == len(values) + 1).any())
        report(case.case_id)
    if not written:
        raise SourceMissing(f"no case could be read; nothing is in {folder}")
    with (folder / PATIENTS).open("w", encoding="utf-8", newline="") as out:
        csv.writer(out).writerows([("file", "patient"), *written.items()])
    names: dict[str, int] = {BACKGROUND: 0} | {str(name): value for name, value in values.items()}
    if ignores:
        names[IGNORE] = len(values) + 1
    content = {
        "channel_names": {"0": "T2"},
        "labels": names,
        "numTraining": len(written),
        "file_ending": file_ending,
        "name": folder.name,
        "licence": "; ".join(sorted(licences - {""})),
    }
    write_json(content, folder / DATASET)
    return Exported(folder, tuple(written), tuple(structures), tuple(refused))


def nnunet_labels(labels: Array, values: Mapping[StructureId, int]) -> Array:
    """Return a case's labels with nnU-Net's values, uint8: each structure's, and one more than the last for `IGNORED`."""
    table = np.zeros(256, np.uint8)
    for name, value in values.items():
        table[BY_ID[name].value] = value
    table[IGNORED] = len(values) + 1
    return np.asarray(table[labels])


def _write(case: Case, array: Array, file: Path) -> None:
    SimpleITK.WriteImage(to_sitk_image(array, case.affine), str(file), useCompression=True)


def nnunet_splits(
    folds: Sequence[Fold], patients: Mapping[str, str], cases: Collection[str]
) -> list[dict[str, list[str]]]:
    """Return folds as nnU-Net's `splits_final.json`: what we test is its validation part, all others are trained on.

    patients: by case id. cases: those of the dataset. A case in no fold is trained on in each, but where its patient is
    tested.
    """
    splits = []
    for fold in folds:
        tested = {patients[case] for case in fold.test}
        val = sorted(set(fold.test) & set(cases))
        train = sorted(case for case in cases if patients[case] not in tested)
        splits.append({"train": train, "val": val})
    return splits


def folds_of_splits(
    splits: Sequence[Mapping[str, Sequence[str]]], patients: Mapping[str, str]
) -> tuple[Fold, ...]:
    """Return folds that test what nnU-Net validates; of the patients that it trains on some choose, as in `draw_folds`.

    patients: by case id; cases that are not among them are left out.
    """
    folds: list[Fold] = []
    for split in splits:
        parts = {part: sorted(set(split[part]) & set(patients)) for part in ("train", "val")}
        rest = sorted({patients[case] for case in parts["train"]})
        np.random.default_rng(len(folds)).shuffle(rest)
        chosen = set(rest[: max(1, round(len(rest) * VALIDATION_SHARE))])
        validation = tuple(case for case in parts["train"] if patients[case] in chosen)
        train = tuple(case for case in parts["train"] if patients[case] not in chosen)
        folds.append(Fold(tuple(parts["val"]), validation, train))
    return tuple(folds)


def write_json(content: Any, file: Path) -> None:
    """Write a file, complete or not at all."""
    unfinished = file.with_name(f"{file.name}.unfinished")
    unfinished.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
    unfinished.replace(file)
