"""A small synthetic result in several variants: what an attribute follows from shows in what changes it.

A disc between two bodies, two arteries, a vein, two muscles and one root, as shapes of closed form on a coarse grid;
measured and encoded by the same functions as a patient's series.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Final

import numpy as np
from conformance_followup import followup_objects
from conformance_source import source_slice
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicomseg.draw.english import ENGLISH
from dicomseg.encode import reform, seg
from dicomseg.encode.context import EncodeInput, own_text, to_bytes
from dicomseg.encode.gather import build_result
from dicomseg.encode.pictures import Drawing, encode_drawing
from dicomseg.encode.rejection_note import Rejection
from dicomseg.encode.rejection_note import encode as encode_note
from dicomseg.encode.result_folder import ENCODERS
from dicomseg.encode.sanitise import sanitised_headers
from dicomseg.encode.uids import Identity, ResultKey
from dicomseg.encode.verified_sr import Verification
from dicomseg.encode.verified_sr import encode as encode_verified
from dicomseg.measure.measure import measure
from dicomseg.read.header import instance_from_dataset
from dicomseg.read.pixels import Source
from dicomseg.read.series import Grid, assemble
from dicomseg.result import Measurements, Refusal
from dicomseg.segmentation import EngineInfo, Finding, Labels, Level, Scores, Segmentation
from dicomseg.structures import BY_ID, CHANNELS, SEGMENTS
from dicomseg.volume import Volume, to_point

Array = np.ndarray
NOTE: Final = "rejection.dcm"
VERIFIED: Final = "verified.dcm"
LABEL_MAP: Final = "seg.labelmap.dcm"

_TUBES: Final = {
    "aa": ((14.0, -29.0, 6.5, 5.5), (-7.0, -32.0, 5.5, 4.8)),
    "ivc": ((-19.0, -24.0, 10.5, 7.0),),
    "pm": ((39.5, -4.0, 13.0, 15.5), (-41.0, -6.0, 14.5, 16.5)),
    "dura": ((1.0, 27.0, 8.0, 6.0),),
    "n4": ((22.0, 16.0, 3.0, 3.0),),
}
"""Elliptic cylinders along the spine: centre (left, back) and semi-axes in mm. There is no right root."""


@dataclass(frozen=True, slots=True)
class Variant:
    """What of a result differs from the first one: 0 or 1 each.

    headers: None leaves out every attribute that the node does without.
    """

    headers: int | None = 0
    config: int = 0
    run: int = 0
    replaces: bool = True
    station: bool = True


FULL: Final = Variant()
VARIANTS: Final[Mapping[str, Variant]] = {
    "full": FULL,
    "bare": Variant(headers=None),
    "first": Variant(replaces=False, station=False),
    "source": Variant(headers=1),
    "config": Variant(config=1),
    "run": Variant(run=1),
}


def _pose(*, turned: bool) -> Array:
    """Directions of the patient's left, back and head in LPS, as columns."""
    angle = 0.1 if turned else 0.0
    return np.array(
        [[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]]
    )


def _grid(*, other: bool) -> Volume:
    """An empty axial grid; the other one is oblique, and its frames of bits do not end at byte boundaries."""
    steps, shape = ((3.1, 1.9, 1.9), (9, 45, 61)) if other else ((3.0, 1.7, 1.7), (8, 48, 68))
    axes = np.fliplr(_pose(turned=other))  # slices upwards, rows to the back, columns to the left
    affine = np.eye(4)
    affine[:3, :3] = axes * steps
    affine[:3, 3] = -axes @ (np.array(shape) / 2 * steps)
    return Volume(np.zeros(shape, np.uint8), affine)


def _logits(points: Array) -> Array:
    """Scores of every class at points (…, 3) to the left, back and head: about mm from the surface over 0.4."""
    left, back, up = np.moveaxis(points, -1, 0)
    out = np.full((CHANNELS, *left.shape), -30.0, np.float32)
    out[0] = 0.0

    def tube(x: float, y: float, a: float, b: float) -> Array:
        return np.asarray((1 - np.hypot((left - x) / a, (back - y) / b)) * min(a, b))

    for name, parts in _TUBES.items():
        out[BY_ID[name].value] = np.max([tube(*part) for part in parts], axis=0)
    side, wedge = tube(0.0, 0.0, 25.0, 18.0), 5.0 - 0.07 * back
    out[2] = np.minimum(side, wedge - np.abs(up))
    out[1], out[3] = np.minimum(side, up - wedge), np.minimum(side, -up - wedge)
    return np.clip(out / 0.4, -30, 30)


@cache
def _found(other: bool) -> tuple[Segmentation, Measurements]:
    """Segment and measure: with a range, a refusal, an absent root and warnings."""
    grid, pose = _grid(other=other), _pose(turned=other)
    points = grid.to_patient(np.stack(np.indices(grid.shape), axis=-1)) @ pose
    logits = _logits(points)
    labels, is_left = logits.argmax(axis=0).astype(np.uint8), points[..., 0] > 0
    sides = np.zeros_like(labels)
    for segment in SEGMENTS:
        here = labels == segment.structure.value
        if segment.side is not None:
            here &= is_left == (segment.side == "left")
        sides[here] = segment.number
    found = Segmentation(
        level=Level((0.0, 0.0, 0.0), to_point(pose[:, 2]), 0.9, ("a doubt about the level",)),
        labels=Labels(grid.with_array(labels), np.ones(labels.shape, bool)),
        sides=grid.with_array(sides),
        scores=Scores(logits, grid.affine),
        engine=EngineInfo("", "", "", "torch", "float32"),
        findings=(Finding("example", "an example", "warning"),),
    )
    measured = measure(found)
    main = dict(measured.main)
    main["DIVC"] = replace(main["DIVC"], uncertainty_mm=None, range_mm=(8.0, 22.0))
    main["PI"] = replace(
        main["PI"],
        value_mm=None,
        points_lps=None,
        uncertainty_mm=None,
        refusal=Refusal("missing", "an example"),
    )
    return found, replace(measured, main=main)


@cache
def inputs(name: str) -> EncodeInput:
    """Return everything that the encoders are given for one variant."""
    variant = VARIANTS[name]
    found, measured = _found(variant.headers == 1)
    run = f"{variant.run}"
    engine = EngineInfo(
        f"model-{run}", run, run * 64, f"engine {run}", f"float{16 + 16 * variant.run}"
    )
    found = replace(
        found, engine=engine, level=replace(found.level, confidence=0.8 + 0.1 * variant.run)
    )
    shape = found.sides.shape
    datasets = [source_slice(found.sides, n, variant.headers) for n in range(shape[0])]
    instances = [instance_from_dataset(ds, Path(f"{n}"), str(n)) for n, ds in enumerate(datasets)]
    grid = assemble(instances)
    if not isinstance(grid, Grid):
        raise TypeError(grid.text)
    least = -900 if variant.headers else 0
    pixels = np.random.default_rng(0).integers(least, 900, shape, np.int16)
    source = Source(grid, tuple(datasets), Volume(pixels, grid.affine, grid.frame_of_reference_uid))
    names = [f"{word} {variant.config}" for word in ("maker", "node", "1", "serial")]
    identity = Identity(*names, f"ROOM{variant.config}" if variant.station else "")
    headers = sanitised_headers(source, own_text(identity))
    key, created = (
        ResultKey(f"{variant.run}" * 32),
        datetime(2030, 1, 1 + variant.run, 3, variant.run, tzinfo=UTC),
    )
    result = build_result(source, headers, found, measured, key, created, {})
    before = ResultKey(f"{8 + variant.run}" * 32) if variant.replaces else None
    return EncodeInput(result, source, found, key, headers, identity, created, before)


def _drawing(variant: Variant) -> Drawing:
    """Return pictures of any content: the attributes around them matter here."""
    source, run = variant.headers or 0, variant.run
    document = f"{source}{'x' * run}".encode()
    page = np.full((2 + run, 4 + run, 3), source, np.uint8)
    return Drawing(page, document, ENGLISH.title, document, {})


def _verification(name: str) -> Verification:
    variant, given = VARIANTS[name], inputs(name)
    person, institution = f"physician.{variant.run}", f"institution {variant.config}"
    return Verification(given.key.result_id, person, institution, given.created)


@cache
def objects(name: str) -> Mapping[str, Dataset]:
    """Return the encoded objects of a variant by file name, as a reader of their files has them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        given, encoded = inputs(name), dict[str, Dataset]()
        for file, encode in ENCODERS.items():
            encoded[file] = encode(given, encoded)
        encoded |= encode_drawing(given, _drawing(VARIANTS[name]))
        files = {file: dcmread(BytesIO(to_bytes(ds))) for file, ds in encoded.items()}
        note = Rejection(given.key.result_id, "newer_input", list(files.values()))
        compared = followup_objects(given, files, _drawing(VARIANTS[name]))
        files |= {file: dcmread(BytesIO(to_bytes(ds))) for file, ds in compared.items()}
        files[NOTE] = dcmread(BytesIO(encode_note(note, given.created)))
        report = dcmread(BytesIO(to_bytes(encoded["measurements.dcm"])))
        files[VERIFIED] = dcmread(BytesIO(encode_verified(report, _verification(name))))
        return files


@cache
def encoded(name: str, file: str) -> Dataset:
    """Return one object of a variant, or its segmentation in the form of a label map."""
    if file != LABEL_MAP:
        return objects(name)[file]
    given = inputs(name)
    keys = [given.key, *([] if given.predecessor is None else [given.predecessor])]
    ds = dcmread(BytesIO(to_bytes(seg.encode(given))))
    reform.convert(ds, "labelmap", reform.new_uids("labelmap", keys))
    return dcmread(BytesIO(to_bytes(ds)))
