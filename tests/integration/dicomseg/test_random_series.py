"""Any series, in any orientation, spacing, order and part: what is stored lies where it was in the patient."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from dicomseg.draw.solid_files import stl_bytes
from dicomseg.draw.surface import build_surfaces, is_closed
from dicomseg.encode import seg, stl
from dicomseg.encode.context import EncodeInput, to_bytes
from dicomseg.encode.result_folder import encode_all
from tests.support.exactness import (
    label_differences,
    reference_differences,
    result_differences,
    surface_differences,
)
from tests.support.meshes import mesh_of, read_stl
from tests.support.random_series import (
    ORIENTATIONS,
    Balls,
    Geometry,
    Series,
    encode_input,
    geometries,
    large_enough,
)
from tests.support.seg_inputs import FORMS

pytestmark = pytest.mark.filterwarnings("ignore:The number of bytes of compressed pixel data")
"""Of noise, a compressed frame may be as long as a plain one."""

EXAMPLES = int(os.environ.get("EXACTNESS_EXAMPLES", "6"))
"""Series that every property is tried on."""

tried = settings(
    max_examples=EXAMPLES,
    derandomize=EXAMPLES <= 50,  # the same series at every run, unless many were asked for
    database=None,
    deadline=None,
    phases=[
        Phase.explicit,
        Phase.generate,
    ],  # a failure names its geometry; a smaller one takes minutes
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@contextmanager
def read_back(series: Series) -> Iterator[EncodeInput]:
    with tempfile.TemporaryDirectory() as folder:
        yield encode_input(series, Path(folder))


@tried
@given(geometries())
def test_labels_lie_in_place_in_every_form(geometry: Geometry) -> None:
    series = Series(geometry)
    with read_back(series) as inputs:
        for name, form in FORMS.items():
            content = to_bytes(seg.encode(inputs, form))
            assert label_differences(content, series) == [], name
            assert reference_differences(content, series) == [], name


@tried
@given(geometries())
def test_picture_and_lines_lie_in_place(geometry: Geometry) -> None:
    series = Series(geometry)
    with read_back(series) as inputs:
        assert result_differences(encode_all(inputs), series) == []


@pytest.mark.parametrize("orientation", range(len(ORIENTATIONS)))
def test_every_orientation_lies_in_place(orientation: int) -> None:
    series = Series(
        Geometry(orientation, 17.0, (0.3, -1.0, 0.5), (1.7, 0.6, 1.1), (-31.0, 8.0, 77.0), (14, 9, 12),
                 seed=orientation, multi_frame=orientation % 2 == 1)
    )  # fmt: skip
    with read_back(series) as inputs:
        assert result_differences(encode_all(inputs), series) == []


@settings(tried, max_examples=max(EXAMPLES // 2, 1))
@given(geometries(least_mm=1.0, most_mm=2.2).map(large_enough))
def test_surfaces_lie_in_place(geometry: Geometry) -> None:
    series = Balls(geometry)
    with read_back(series) as inputs:
        meshes = build_surfaces(inputs.segmentation.sides)
        stored = to_bytes(stl.encode(inputs, stl_bytes(list(meshes.values()))))
    numbers = range(1, len(series.centres_lps) + 1)
    assert list(meshes) == list(numbers)
    ds = pydicom.dcmread(BytesIO(stored))
    document = ds.EncapsulatedDocument[: ds.EncapsulatedDocumentLength]
    inner = np.concatenate([series.points_within(n, 0.6) for n in numbers])
    outer = np.concatenate([series.points_around(n, 2.5) for n in numbers])
    assert surface_differences(document, inner, outer, series.middle_of()) == []
    mirrored = inner * [-1, 1, 1] + [2 * series.middle_lps[0], 0, 0]
    assert surface_differences(document, mirrored, outer, series.middle_of()) != []
    voxel_ml = np.prod(geometry.spacing_mm) / 1000
    for n in numbers:
        others = np.concatenate([series.points_within(m, 0.6, 3) for m in numbers if m != n])
        file, own = stl_bytes([meshes[n]]), series.points_within(n, 0.6)
        assert surface_differences(file, own, others, series.middle_of(n)) == [], n
        mesh, voxels = mesh_of(read_stl(file)[1]), int((series.numbers == n).sum())
        assert is_closed(mesh.faces), n
        assert mesh.volume_ml == pytest.approx(voxels * voxel_ml, rel=0.02), n
