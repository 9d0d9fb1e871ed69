"""The picture of the mid-disc plane."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dicomseg.encode import measurements_sr, midplane_image
from dicomseg.encode.context import EncodeInput
from dicomseg.encode.gather import build_result
from dicomseg.result import Measurement, Refusal

pytestmark = pytest.mark.process  # dciodvfy judges what is written


@pytest.mark.parametrize("slope", [0.0002, 0.01, 1.0, 3.0])
def test_the_picture_keeps_its_greys_whatever_the_slope(studio: Any, slope: float) -> None:
    plan = studio.plan(studio.slices())
    volume = plan.source.volume
    scaled = volume.with_array(volume.array.astype(np.float32) * np.float32(slope))
    source = replace(plan.source, volume=scaled)
    measured = studio.measured
    result = build_result(source, plan.headers, studio.found, measured, plan.key, plan.created, {})
    run = EncodeInput(
        result, source, studio.found, plan.key, plan.headers, plan.identity, plan.created
    )
    ds = midplane_image.encode(run)
    assert len(np.unique(np.frombuffer(ds.PixelData, np.uint16))) > 400
    assert float(ds.WindowWidth) > 300


def test_a_long_reason_is_short_on_the_picture(studio: Any) -> None:
    text = "the psoas is truncated at the image border within 1 mm of the end point of the line; enlarge the field"
    m = Measurement("OC", "", refusal=Refusal("cut_by_image", text))
    assert measurements_sr.reason(m) == "OC not measured: cut by image"
    assert len(measurements_sr.reason(m)) <= 60
