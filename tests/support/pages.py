"""Results to draw pages of, without DICOM and without a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np

from dicomseg.draw.english import ENGLISH
from dicomseg.draw.heading import Heading
from dicomseg.draw.page import PageInput
from dicomseg.draw.surface import build_surfaces
from dicomseg.draw.texts import Texts
from dicomseg.measure.measure import measure
from dicomseg.result import Measurements, Plane, Refusal, Result, SourceSeries
from dicomseg.segmentation import Finding, Segmentation
from dicomseg.structures import SEGMENTS
from dicomseg.volume import Volume
from tests.support.shapes import Shapes, segmentation, spine

GREYS = np.array([300, 250, 120, 260, 900, 200, 20, 60, 40], np.uint16)
"""Grey values of background and structures, as T2 shows them."""


@cache
def patient() -> tuple[Segmentation, Measurements]:
    """The spine of closed form on a coarse grid, with every segment's number, and its measurements."""
    pose = Shapes().straight(low_mm=(-60.0, -50.0, -17.0), high_mm=(60.0, 42.0, 17.0))
    seg = segmentation(spine(), pose)
    labels = seg.labels.volume
    sides = seg.sides.array.copy()
    for segment in SEGMENTS:
        if segment.side is None:
            sides[labels.array == segment.structure.value] = segment.number
    seg = replace(seg, sides=seg.sides.with_array(sides))
    return seg, measure(seg)


def grey_volume(seg: Segmentation) -> Volume:
    """Grey values of the labels, with noise."""
    labels = seg.labels.volume
    noise = np.random.default_rng(3).integers(0, 12, labels.shape, dtype=np.uint16)
    return labels.with_array(GREYS[labels.array] + noise)


def with_refusals(measured: Measurements, refused: Sequence[str], code: str) -> Measurements:
    """The measurements with refusals in the place of some values."""
    main = {
        name: replace(
            m, value_mm=None, points_lps=None, uncertainty_mm=None, range_mm=None, flags=(),
            refusal=Refusal(code, "a reason of the program"),
        )
        if name in refused
        else m
        for name, m in measured.main.items()
    }  # fmt: skip
    return replace(measured, main=main)


def result_of(
    seg: Segmentation, measured: Measurements, warnings: Sequence[Finding] = ()
) -> Result:
    """A result without objects."""
    volume = seg.labels.volume
    source = SourceSeries(
        "1.2.3", "1.2.3.4", "1.2.3.5", volume.shape[0], "t2_space", "axial", volume.spacing_mm, volume.shape,
    )  # fmt: skip
    return Result(
        result_id="5f3a" * 8,
        created="2030-01-02T03:04:05+00:00",
        source=source,
        model=seg.engine,
        level=seg.level,
        structures={},
        measurements=measured,
        warnings=tuple(warnings),
    )


HEADING = Heading(
    names=("PHANTOM 77",),
    patient_id="PH-77",
    born="1970-01-01",
    study_date="2030-01-02",
    description="t2_space",
    model="lumbar-l45 0.10.0 (c98f9776b3f7) · torch float32 · lumbar-node 0.1.0",
    created="2030-01-02 03:04 UTC",
)


def page_input(
    measured: Measurements | None = None,
    *,
    texts: Texts = ENGLISH,
    warnings: Sequence[Finding] = (),
    **heading: Any,
) -> PageInput:
    """Everything on the page of `patient`."""
    seg, own = patient()
    measured = measured or own
    level = seg.level
    fallback = Plane(level.centre_lps, (0.0, 0.0, 1.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0))
    return PageInput(
        grey_volume(seg),
        seg,
        result_of(seg, measured, warnings),
        measured.plane or fallback,
        build_surfaces(seg.sides),
        replace(HEADING, **heading),
        texts,
    )
