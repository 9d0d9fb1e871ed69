"""An exported study: sagittal MR, and the SEG of all ten labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sr.codedict import codes

from dicomseg.structures import ANATOMICAL_STRUCTURE, BY_ID, Code
from dicomseg.volume import Volume, build_affine
from tests.support.seg_objects import concept, save_seg, with_side
from training.importing.deidentify import read_or_create_secret
from training.importing.dicom import pending
from training.importing.importer import ImportOptions, ImportSummary, import_all
from training.importing.label_table import LabelTable
from training.phantom import dicom_series as study
from training.phantom.person import draw_person

# Centres and half sizes in LPS mm; nothing is symmetrical, so a mirrored axis would be seen.
BLOBS: Mapping[str, tuple[tuple[float, float, float], tuple[float, float, float]]] = {
    "l4": ((2, 0, 16), (17, 12, 9)),
    "ivd": ((3, 0, 1), (17, 12, 5)),
    "l5": ((5, 2, -14), (17, 12, 9)),
    "dura": ((4, 22, 0), (6, 5, 18)),
    "n4.left": ((16, 24, 4), (4, 3, 6)),
    "n4.right": ((-9, 25, 2), (4, 3, 6)),
    "aa": ((9, -21, 2), (6, 5, 16)),
    "pm.left": ((33, 6, 1), (8, 9, 14)),
    "pm.right": ((-25, 4, -2), (6, 8, 14)),
    "ivc": ((-11, -20, 0), (5, 5, 16)),
}
ORIGIN = np.array([7.0, -11.0, 123.0])
SAGITTAL = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])


def grid_of(directions: Any, spacing: Sequence[float] = (2.0, 1.5, 1.5)) -> Volume:
    """An empty grid of 90 × 70 × 56 mm about the blobs, whatever its axes."""
    unit = directions / np.linalg.norm(directions, axis=0)
    unit = np.linalg.qr(unit)[0] * np.sign(np.diag(np.linalg.qr(unit)[1]))
    reach = np.abs(unit.T @ np.diag([90.0, 70.0, 56.0])).sum(axis=1)
    count = np.ceil(reach / spacing).astype(int)
    start = ORIGIN + np.array([4, 4, 1]) - unit @ ((count - 1) / 2 * np.array(spacing))
    return Volume(np.zeros(count), build_affine(unit, spacing, start))


def blob(grid: Volume, name: str) -> np.ndarray[Any, Any]:
    centre, half = BLOBS[name]
    points = grid.to_patient(np.stack(np.indices(grid.shape), axis=-1)) - ORIGIN
    return (np.abs(points - centre) <= half).all(axis=-1)


def pixels_of(grid: Volume, seed: int = 1) -> np.ndarray[Any, Any]:
    image = np.random.default_rng(seed).integers(20, 60, grid.shape).astype(float)
    for n, name in enumerate(BLOBS):
        image[blob(grid, name)] += 100 + 60 * n
    return image


def write_mr(folder: Path, grid: Volume, seed: int = 1, **changes: Any) -> list[Path]:
    """A classic MR series with names, dates and private elements of an invented patient."""
    folder.mkdir(parents=True, exist_ok=True)
    patient = study.Patient(f"case-{seed}", draw_person(seed), seed)
    stack = study.Stack(study.T2_SPACE, pixels_of(grid, seed), grid.affine)
    out = []
    for n, ds in enumerate(study.build_datasets(patient, stack)):
        ds.private_block(0x0029, "SIEMENS CSA", create=True).add_new(0x10, "LO", "Phantom^Private")
        for keyword, value in changes.items():
            setattr(ds, keyword, value)
        out.append(folder / f"{(n * 7) % 101:03d}.dcm")
        ds.save_as(out[-1], enforce_file_format=True)
    return out


def described(number: int, name: str, by: str = "MANUAL") -> hd.seg.SegmentDescription:
    structure, _, side = name.partition(".")
    code = BY_ID[structure].code if structure in BY_ID else Code("113343008", "SCT", "Organ")  # type: ignore[index]
    made = hd.seg.SegmentDescription(
        segment_number=number,
        segment_label=f"label {name}",
        segmented_property_category=concept(ANATOMICAL_STRUCTURE),
        segmented_property_type=concept(code),
        algorithm_type=by,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            "tool", codes.DCM.ArtificialIntelligence, "1"
        )
        if by == "AUTOMATIC"
        else None,
        tracking_id=f"lesion {number}",
        tracking_uid=hd.UID(),
    )
    return with_side(made, side)


def write_seg(
    file: Path,
    images: Sequence[Path],
    masks: Mapping[str, Any],
    grid: Volume,
    *,
    by: str = "MANUAL",
    change: Callable[[Dataset], None] = lambda _: None,
    kind: str = "BINARY",
) -> Path:
    """A SEG of the masks on `grid`, which need not be that of the images."""
    names = [described(n, name, by) for n, name in enumerate(masks, start=1)]
    return save_seg(
        file, images, list(masks.values()), grid.affine, names, kind=kind, change=change
    )


def all_masks(grid: Volume, names: Sequence[str] = tuple(BLOBS)) -> dict[str, Any]:
    return {name: blob(grid, name) for name in names}


def options_for(out: Path, **changes: Any) -> ImportOptions:
    made = ImportOptions(
        out, "dicom", "CC BY 4.0", read_or_create_secret(out / "pseudonym.key"), "2026-11-23"
    )
    return replace(made, **changes)


def imported(
    folder: Path, out: Path, table: LabelTable | None = None, **changes: Any
) -> tuple[ImportSummary, list[str]]:
    notes: list[str] = []
    return import_all(pending(folder, table), options_for(out, **changes), notes.append), notes


@pytest.fixture(scope="session")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sagittal study: MR in one folder, the SEG of all ten labels in another."""
    folder = tmp_path_factory.mktemp("exported")
    grid = grid_of(SAGITTAL)
    images = write_mr(folder / "mr", grid)
    write_seg(folder / "seg" / "reader.dcm", images, all_masks(grid), grid)
    (folder / "notes.txt").write_text("no DICOM")
    return folder
