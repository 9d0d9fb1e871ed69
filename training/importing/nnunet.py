"""Raw datasets of nnU-Net, version 2: what `dataset.json` names, and the pairs of image and label map."""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from training.data.cases import IGNORED
from training.data.nnunet import (
    BACKGROUND,
    DATASET,
    FILE_ENDINGS,
    IGNORE,
    IMAGES,
    LABELS,
    PATIENTS,
    SPLITS,
)
from training.errors import FoldsError, ImportRefused, SourceMissing
from training.importing.files import FilePair, pending_pairs, read_patients
from training.importing.label_table import LabelTable, Target, entry_of, target_of_name
from training.importing.pairs import PendingPair

_CASE: Final = re.compile(r"(.+)_(\d{4})")


@dataclass(frozen=True, slots=True)
class RawDataset:
    """What a `dataset.json` says. labels: values by name; several where the name is a region of others."""

    folder: Path
    labels: Mapping[str, tuple[int, ...]]
    channels: Mapping[int, str]
    file_ending: str
    files: Mapping[str, tuple[tuple[Path, ...], Path]]
    """Images by channel, and label map, by case, where the file lists them itself."""

    def image_channel(self) -> int:
        """Return the channel that is imported: the only one called T2, else the first."""
        t2 = [n for n, name in self.channels.items() if "t2" in name.casefold()]
        return t2[0] if len(t2) == 1 else min(self.channels)


def read_dataset(folder: Path) -> RawDataset:
    """Read `dataset.json`.

    Raises:
        SourceMissing: there is none.
        ImportRefused: damaged, of version 1, or of files that are no volumes.
    """
    file = folder / DATASET
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
    except FileNotFoundError as error:
        raise SourceMissing(f"{folder}: no {DATASET}; give the folder DatasetNNN_Name") from error
    except (OSError, ValueError) as error:
        raise ImportRefused(f"{file}: rule readable: {error}; restore it") from error
    if isinstance(content, dict) and "modality" in content and "channel_names" not in content:
        raise ImportRefused(
            f"{file}: rule readable: nnU-Net's version 1; convert it with nnUNetv2_convert_old_nnUNet_dataset"
        )
    try:
        ending = str(content["file_ending"])
        labels = {str(k): _values(v) for k, v in content["labels"].items()}
        channels = {int(k): str(v) for k, v in content["channel_names"].items()} or {0: ""}
        files = {
            str(case): (tuple(folder / f for f in entry["images"]), folder / entry["label"])
            for case, entry in dict(content.get("dataset", {})).items()
        }
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise ImportRefused(
            f"{file}: rule readable: {type(error).__name__}: {error}; it needs labels, channel_names and"
            " file_ending, as nnU-Net v2 has them"
        ) from error
    if ending not in FILE_ENDINGS:
        raise ImportRefused(
            f"{file}: rule readable: files of {ending} are no volumes with a place in the patient; convert them to"
            f" {' or '.join(FILE_ENDINGS)}"
        )
    return RawDataset(folder, labels, channels, ending, files)


def _values(value: Any) -> tuple[int, ...]:
    if isinstance(value, bool):
        raise TypeError("a label's value is true or false")
    return tuple(int(v) for v in value) if isinstance(value, (list, tuple)) else (int(value),)


def label_table(dataset: RawDataset, table: LabelTable) -> LabelTable:
    """Return what each value means: by the table (name or value), else by the name, else as background where both know it.

    Of several regions that hold a value, the smallest whose name is known counts.

    Raises:
        ImportRefused: names that neither knows, or a value that is two structures.
    """
    meanings: dict[int, dict[str, tuple[int, Target]]] = defaultdict(dict)
    unknown: dict[str, tuple[int, ...]] = {}
    for name, values in dataset.labels.items():
        target = _meaning(name, values, table)
        if target is None:
            unknown[name] = values
            continue
        for value in values:
            meanings[value][name] = len(values), target
    open_names = {n for n, values in unknown.items() if not set(values) <= meanings.keys()}
    file = dataset.folder / DATASET
    if open_names:
        raise ImportRefused(
            f"{file}: rule known-labels: {', '.join(sorted(open_names))} have no known name; map each with --labels, as a"
            " structure or as background"
        )
    out = {}
    for value, named in meanings.items():
        least = min(size for size, _ in named.values())
        smallest = {name: target for name, (size, target) in named.items() if size == least}
        if len(set(smallest.values())) > 1:
            raise ImportRefused(
                f"{file}: rule known-labels: {value} is {' and '.join(sorted(smallest))}; map it with --labels"
            )
        out[str(value)] = next(iter(smallest.values()))
    return out | {k: t for k, t in table.items() if re.fullmatch(r"-?\d+", k)}


def _meaning(name: str, values: tuple[int, ...], table: LabelTable) -> Target | None:
    """Return what one name means, None where neither table nor name tell."""
    entry = entry_of(table, name, *map(str, values if len(values) == 1 else ()))
    if entry is not None:
        return entry
    if name.casefold() == BACKGROUND:
        return Target(None)
    return Target(None, further=IGNORED) if name.casefold() == IGNORE else target_of_name(name)


def find_cases(dataset: RawDataset) -> list[FilePair]:
    """Return the training cases: the channel that is imported, with its label map; one without the other as well.

    Raises:
        SourceMissing: no case.
    """
    channel = dataset.image_channel()
    if dataset.files:
        return [
            FilePair(case, images[channel : channel + 1], (label,))
            for case, (images, label) in sorted(dataset.files.items())
        ]
    found: dict[str, tuple[list[Path], list[Path]]] = defaultdict(lambda: ([], []))
    for file in _files(dataset, IMAGES):
        match = _CASE.fullmatch(file.name.removesuffix(dataset.file_ending))
        if match is not None and int(match[2]) == channel:
            found[match[1]][0].append(file)
    for file in _files(dataset, LABELS):
        found[file.name.removesuffix(dataset.file_ending)][1].append(file)
    if not found:
        raise SourceMissing(
            f"{dataset.folder}: no *_{channel:04d}{dataset.file_ending} in {IMAGES}; check file_ending in {DATASET}"
        )
    return [FilePair(case, tuple(i), tuple(m)) for case, (i, m) in sorted(found.items())]


def _files(dataset: RawDataset, name: str) -> list[Path]:
    folder = dataset.folder / name
    files = folder.iterdir() if folder.is_dir() else ()
    return sorted(p for p in files if p.name.endswith(dataset.file_ending))


def pending(
    folder: Path,
    table: LabelTable,
    patients: Mapping[str, str] | None = None,
    report: Callable[[str], None] = lambda _: None,
) -> Iterator[PendingPair]:
    """Yield the training cases of a dataset, to be loaded later; channels that are not used are reported.

    patients: id by case; without it `patients.csv` of the dataset, as our export writes it, else from the names.

    Raises:
        SourceMissing, ImportRefused: as `read_dataset`, `label_table` and `find_cases`.
        UsageError: `patients.csv` cannot be read.
    """
    dataset = read_dataset(folder)
    values, pairs = label_table(dataset, table), find_cases(dataset)
    others = [
        f"{n} ({name})" for n, name in dataset.channels.items() if n != dataset.image_channel()
    ]
    if others:
        report(f"{folder.name}: channel {', '.join(others)} is not used")
    if patients is None and (folder / PATIENTS).is_file():
        patients = read_patients(folder / PATIENTS)
    if patients is None:
        report("patient ids are taken from the file names; --patients names who was scanned twice")
    for pair, found in zip(pairs, pending_pairs(pairs, values, patients), strict=True):
        yield replace(found, name=pair.name)


def read_splits(folder: Path) -> list[dict[str, list[str]]]:
    """Return the folds of a dataset, `train` and `val` by case, where it has some.

    Raises:
        FoldsError: damaged.
    """
    file = folder / SPLITS
    if not file.exists():
        return []
    try:
        content = json.loads(file.read_text(encoding="utf-8-sig"))
        return [
            {part: [str(c) for c in fold[part]] for part in ("train", "val")} for fold in content
        ]
    except (OSError, ValueError, LookupError, TypeError) as error:
        raise FoldsError(f"{file}: {type(error).__name__}; restore or remove it") from error
