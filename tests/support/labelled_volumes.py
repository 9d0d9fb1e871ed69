"""A made-up lumbar image with labels as SimpleITK volumes on any grid, and its import."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK

from dicomseg.structures import BY_ID
from training.data.cases import Case, list_cases_in, load_case
from training.importing.deidentify import read_or_create_secret
from training.importing.files import pending
from training.importing.importer import ImportOptions, ImportSummary, import_all
from training.importing.label_table import LabelTable, Target

# Label value: structure, centre and half size in LPS mm; nothing is symmetrical.
BLOBS: Mapping[int, tuple[str, tuple[float, float, float], tuple[float, float, float]]] = {
    11: ("l4", (2, 0, 16), (17, 12, 9)),
    12: ("ivd", (3, 0, 1), (17, 12, 5)),
    13: ("l5", (5, 2, -14), (17, 12, 9)),
    14: ("dura", (4, 22, 0), (6, 5, 18)),
    15: ("aa", (9, -21, 2), (6, 5, 16)),
    16: ("pm.left", (33, 6, 1), (8, 9, 14)),
    17: ("pm.right", (-25, 4, -2), (6, 8, 14)),
}
CENTRE = np.array([-12.0, 31.0, 400.0])
TABLE: LabelTable = {
    str(n): Target(name.partition(".")[0], name.partition(".")[2] or None)  # type: ignore[arg-type]
    for n, (name, _, _) in BLOBS.items()
}
SIZE = (50, 46, 36)
LPS = np.eye(3)
SPACING = (2.0, 1.5, 1.75)


def grid(turn: Any = LPS, size: tuple[int, int, int] = SIZE) -> SimpleITK.Image:
    """An empty grid about the blobs; columns of `turn` are the LPS directions of x, y, z."""
    made = SimpleITK.Image(list(size), SimpleITK.sitkFloat32)
    made.SetSpacing(SPACING)
    made.SetDirection(np.asarray(turn, dtype=float).ravel().tolist())
    middle = np.asarray(turn) @ ((np.array(size) - 1) / 2 * SPACING)
    made.SetOrigin((CENTRE + np.array([4, 4, 1]) - middle).tolist())
    return made


def points_of(image: SimpleITK.Image) -> np.ndarray[Any, Any]:
    """LPS mm of every voxel, (z, y, x, 3)."""
    kji = np.stack(np.indices(image.GetSize()[::-1]), axis=-1)[..., ::-1]
    turn = np.array(image.GetDirection()).reshape(3, 3) * image.GetSpacing()
    return np.asarray(kji @ turn.T + image.GetOrigin())


def filled(like: SimpleITK.Image, array: Any) -> SimpleITK.Image:
    made = SimpleITK.GetImageFromArray(array)
    made.CopyInformation(like)
    return made


def painted(empty: SimpleITK.Image, seed: int = 1) -> tuple[SimpleITK.Image, SimpleITK.Image]:
    """An image and its label map of the blobs."""
    points = points_of(empty) - CENTRE
    labels = np.zeros(points.shape[:-1], dtype=np.int16)
    for value, (_, centre, half) in BLOBS.items():
        labels[(np.abs(points - centre) <= half).all(axis=-1)] = value
    noise = np.random.default_rng(seed).integers(0, 40, labels.shape)
    return filled(empty, (labels * 60 + noise).astype(np.int16)), filled(empty, labels)


def write(folder: Path, name: str, image: SimpleITK.Image, labels: SimpleITK.Image) -> None:
    for kind, volume in (("images", image), ("labels", labels)):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        SimpleITK.WriteImage(volume, str(folder / kind / f"{name}.nii.gz"))


def imported(
    folder: Path,
    table: LabelTable = TABLE,
    patients: Mapping[str, str] | None = None,
    *,
    mirrored_vessels: bool = False,
    cut_arches: bool = False,
) -> tuple[ImportSummary, list[str]]:
    """Import `folder/images` with `folder/labels` into `folder/out`; also every line that was reported."""
    out, notes = folder / "out", []  # type: ignore[var-annotated]
    options = ImportOptions(
        out, "volumes", "CC0", read_or_create_secret(out / "pseudonym.key"), "2026-11-23",
        mirrored_vessels=mirrored_vessels, cut_arches=cut_arches,
    )  # fmt: skip
    pairs = pending(folder / "images", folder / "labels", table, patients)
    return import_all(pairs, options, notes.append), notes


def only(folder: Path) -> Case:
    (path,) = list_cases_in(folder / "out")
    return load_case(path)


def centre_of(case: Case, name: str) -> np.ndarray[Any, Any]:
    structure, _, side = name.partition(".")
    ijk = np.argwhere(case.labels == BY_ID[structure].value)  # type: ignore[index]
    points = ijk @ case.affine[:3, :3].T + case.affine[:3, 3]
    if side:
        points = points[(points[:, 0] > CENTRE[0] + 4) == (side == "left")]
    return np.asarray(points.mean(axis=0))


NAMES = {value: name.replace(".", " ") for value, (name, _, _) in BLOBS.items()}
"""What a person calls the segments."""


def pair(image: SimpleITK.Image, labels: SimpleITK.Image, folder: Path, *names: str) -> None:
    for kind, volume, name in zip(("images", "labels"), (image, labels), names, strict=True):
        (folder / kind).mkdir(parents=True, exist_ok=True)
        SimpleITK.WriteImage(volume, str(folder / kind / name), useCompression=True)


def as_slicer(
    labels: SimpleITK.Image, names: dict[int, str], *, layers: bool = False
) -> SimpleITK.Image:
    """Return what 3D Slicer writes: names in the header; with layers every second segment is on a layer of its own."""
    array = SimpleITK.GetArrayFromImage(labels).astype(np.uint8)
    if layers:
        odd = np.isin(array, [v for v in names if v % 2])
        both = np.stack([np.where(odd, 0, array), np.where(odd, array, 0)], axis=-1)
        made = SimpleITK.GetImageFromArray(both, isVector=True)
    else:
        made = SimpleITK.GetImageFromArray(array)
    made.CopyInformation(labels)
    for n, (value, name) in enumerate(names.items()):
        made.SetMetaData(f"Segment{n}_Name", name)
        made.SetMetaData(f"Segment{n}_LabelValue", str(value))
        made.SetMetaData(f"Segment{n}_Layer", str(value % 2 if layers else 0))
    return made
