"""Write phantom studies: the T2 SPACE of one person, distractors beside it, and the truth."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from dicomseg.volume import AXIAL, Array, Points, build_affine
from model.engines.coded import MARGIN_STEPS, MAX_MARGIN, encode_labels
from training.errors import UsageError
from training.phantom import dicom_series, truth
from training.phantom.dicom_series import Patient, Protocol, Stack
from training.phantom.mri import Weighting
from training.phantom.person import VesselKind
from training.phantom.phantom import (
    GENERATOR_VERSION,
    SAGITTAL,
    Fov,
    Phantom,
    build_raster,
    draw_anatomy,
    image_anatomy,
)
from training.phantom.rasterise import Raster
from training.phantom.scene import Anatomy

SOFTNESS_MM: Final = 0.4
"""Coded phantoms: millimetres of signed distance per logit."""


@dataclass(frozen=True, slots=True)
class StudyOptions:
    """What a study shows."""

    fov: Fov = "axial"
    slices: int | None = None
    """None is the full grid of `phantom.build_raster`."""
    matrix: int | None = None
    """Rows and columns; None as for `slices`."""
    oblique: bool = False
    coded: bool = False
    """Grey values encode the answer (`model.engines.coded`)."""
    distractors: bool = False
    """Also write series that must not be selected."""
    drop_slice: int | None = None
    """Index of a slice that is not written, as if lost in transfer."""
    vessels: VesselKind = "usual"


def coded_voxels(levels: Array, labels: Array) -> Array:
    """Encode the answer in grey values: (best · 9 + runner-up) · steps + margin, uint16.

    levels: (9, i, j, k) signed distances in mm. The margin between best and runner-up in logits is
    their difference over two (both count from one surface) / SOFTNESS_MM, 0…8 in `MARGIN_STEPS`; never
    rounded to a tie. The best class is the label, so that decoding gives the labels exactly.
    """
    out = np.empty(labels.shape, dtype=np.uint16)
    for n, plane in enumerate(labels):  # slice by slice: nine full fields twice would not fit
        plane_levels = levels[:, n]
        best = np.argmin(plane_levels, axis=0).astype(np.uint8)
        rest = plane_levels.copy()
        np.put_along_axis(rest, best[None], np.inf, axis=0)
        runner_up = np.argmin(rest, axis=0).astype(np.uint8)
        margin = (rest.min(axis=0) - plane_levels.min(axis=0)) / (2.0 * SOFTNESS_MM)
        torn = best != plane  # a voxel centre exactly on a surface
        runner_up, margin = np.where(torn, best, runner_up), np.where(torn, 0.0, margin)
        out[n] = code_without_ties(plane, runner_up, margin)
    return out


def code_without_ties(best: Array, runner_up: Array, margin: Array) -> Array:
    """Encode labels with at least one step of margin, so that nothing ties."""
    floor = MAX_MARGIN / (MARGIN_STEPS - 1)
    return encode_labels(best, runner_up, np.maximum(margin, floor))


def write_study(
    folder: Path, seed: int, options: StudyOptions, report: Callable[[str], None] = lambda _: None
) -> Path:
    """Write `<folder>/<case>/…` and return the case's folder.

    Raises:
        UsageError: a slice is to be dropped that does not exist.
    """
    case = f"phantom-{seed:06d}"
    target = folder / case
    anatomy = draw_anatomy(seed, options.fov, vessels=options.vessels)
    centre = anatomy.patient_pose.to_lps(np.zeros(3))
    raster = build_raster(
        options.fov, centre, slices=options.slices, matrix=options.matrix, oblique=options.oblique
    )
    dropped = _dropped_slices(options, raster.shape[0])
    report("painting")
    drawn = image_anatomy(anatomy, raster, with_levels=options.coded)
    pixels = dicom_series.to_stored_values(drawn.image)
    if drawn.levels is not None:
        pixels = coded_voxels(drawn.levels, drawn.labels)
    patient = Patient(case, anatomy.person, seed)
    main = Stack(dicom_series.T2_SPACE, pixels, raster.affine, dropped)
    report("writing")
    series_uid = dicom_series.write_series(patient, [main], target / "t2_space")
    if options.distractors:
        report("painting the distractors")
        dicom_series.write_series(
            patient, [uncorrected_reconstruction(main)], target / dicom_series.UNCORRECTED.name
        )
        write_distractors(patient, anatomy, target)
    report("measuring the truth")
    write_truth(
        target,
        case,
        drawn,
        options,
        {"series_uid": str(series_uid), **dicom_series.study_uids(patient)},
    )
    return target


def _dropped_slices(options: StudyOptions, count: int) -> frozenset[int]:
    if options.drop_slice is None:
        return frozenset()
    if not 0 <= options.drop_slice < count:
        raise UsageError(
            f"--drop-slice {options.drop_slice}: the series has slices 0 to {count - 1}"
        )
    return frozenset({options.drop_slice})


def write_truth(
    folder: Path, case: str, drawn: Phantom, options: StudyOptions, ids: dict[str, str]
) -> None:
    """Write `truth.json` and `labels.npz` (arrays `labels` uint8, `affine`) of the acquired grid."""
    plane = truth.disc_plane(drawn.anatomy)
    values = truth.measure_truth(drawn.anatomy, plane)
    with (folder / "labels.npz").open("wb") as out:
        np.savez_compressed(out, labels=drawn.labels, affine=drawn.affine)
    text: dict[str, Any] = {
        "schema": 1,
        "generator": GENERATOR_VERSION,
        "case": case,
        **ids,
        "measurements": {name: asdict(value) for name, value in values.items()},
        "plane": {"point_lps": plane.point_lps, "normal": plane.normal},
        "level": {
            "name": "L4/L5",
            "centre_lps": drawn.anatomy.patient_pose.to_lps(np.zeros(3)).tolist(),
            "normal": plane.normal,
            "disc_centres": truth.disc_centres(drawn.anatomy),
        },
        "label_volumes_ml": truth.label_volumes_ml(drawn.labels, drawn.affine),
        "labels": "labels.npz",
        "shape": list(drawn.raster.shape),
        "options": asdict(options),
        "card": dict(drawn.card),
    }
    (folder / "truth.json").write_text(
        json.dumps(text, indent=1, sort_keys=True) + "\n", encoding="utf-8"
    )


@dataclass(frozen=True, slots=True, eq=False)
class _CoarseGrid:
    """Grid of a light series about the disc."""

    directions: Points
    spacing_mm: tuple[float, float, float]
    shape: tuple[int, int, int]

    def raster(self, anatomy: Anatomy) -> Raster:
        half = (np.array(self.shape) - 1) / 2 * np.array(self.spacing_mm)
        middle = anatomy.patient_pose.to_lps(np.zeros(3)) + np.array([0.0, 8.0, 0.0])
        origin = (middle - self.directions @ half).tolist()
        return Raster(self.shape, build_affine(self.directions, self.spacing_mm, origin))


def _coarse_stack(
    anatomy: Anatomy,
    protocol: Protocol,
    grid: _CoarseGrid,
    weighting: Weighting = "t2",
    first: int = 1,
) -> Stack:
    drawn = image_anatomy(anatomy, grid.raster(anatomy), weighting=weighting)
    return Stack(
        protocol, dicom_series.to_stored_values(drawn.image), drawn.affine, frozenset(), first
    )


def write_distractors(patient: Patient, anatomy: Anatomy, folder: Path) -> None:
    """Write light series that must not be selected: localizer, 2D TSE, T1 SPACE, FLAIR, MPR."""
    axial = np.asarray(AXIAL)
    coronal = np.array([[0.0, 0.0, 1.0], [1.0, 0.0, 0.0], [0.0, -1.0, 0.0]])
    thin = _CoarseGrid(axial, (2.0, 2.5, 2.5), (24, 96, 96))
    localizer = [
        replace(
            _coarse_stack(
                anatomy,
                dicom_series.LOCALIZER,
                _CoarseGrid(d, (12.0, 3.5, 3.5), (3, 80, 80)),
                first=1 + 3 * n,
            ),
            expected=9,
        )
        for n, d in enumerate((SAGITTAL, coronal, axial))
    ]
    groups = [
        localizer,
        [
            _coarse_stack(
                anatomy, dicom_series.T2_TSE, _CoarseGrid(SAGITTAL, (3.9, 2.5, 2.5), (15, 96, 96))
            )
        ],
        [_coarse_stack(anatomy, dicom_series.T1_SPACE, thin, "t1")],
        [_coarse_stack(anatomy, dicom_series.FLAIR, thin, "flair")],
        [
            _coarse_stack(
                anatomy, dicom_series.MPR, _CoarseGrid(coronal, (3.0, 2.5, 2.5), (20, 96, 96))
            )
        ],
    ]
    for stacks in groups:
        dicom_series.write_series(patient, stacks, folder / stacks[0].protocol.name)


def uncorrected_reconstruction(stack: Stack) -> Stack:
    """Return the same series without distortion correction: same grid, other header."""
    return replace(stack, protocol=dicom_series.UNCORRECTED)
