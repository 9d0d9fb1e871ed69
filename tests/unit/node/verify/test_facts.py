"""What we find in a segmentation, in each of its forms and for sizes that no byte divides."""

from __future__ import annotations

from io import BytesIO
from typing import Any

import numpy as np
import pydicom
import pytest

from dicomseg.encode import seg
from dicomseg.encode.context import to_bytes
from dicomseg.encode.seg_form import Form
from node.verify.facts import facts_of
from tests.support.encoded import changed
from tests.support.result_sets import complete, worklist


@pytest.mark.parametrize("size", [(72, 101), (71, 101)], ids=["whole bytes", "odd"])
def test_voxels_of_every_segment(studio: Any, size: tuple[int, int]) -> None:
    small = complete(studio).cropped(*size)
    files = small.encode(changed(small, worklist))
    counts = np.bincount(small.found.sides.array.ravel())
    facts = facts_of(pydicom.dcmread(BytesIO(files["seg.dcm"])))
    assert facts.voxels == {str(n): int(c) for n, c in enumerate(counts) if n and c}
    assert facts.groups is None


@pytest.mark.parametrize(
    "form", [Form("fractional", rle=True), Form("labelmap"), Form("labelmap", rle=True)], ids=str
)
def test_voxels_in_every_form(studio: Any, form: Form) -> None:
    small = complete(studio)
    content = to_bytes(seg.encode(small.inputs(changed(small, worklist)), form))
    counts = np.bincount(small.found.sides.array.ravel())
    facts = facts_of(pydicom.dcmread(BytesIO(content)))
    assert facts.voxels == {str(n): int(c) for n, c in enumerate(counts) if n and c}


def test_groups_and_values_of_a_report(studio: Any) -> None:
    files = studio.encode(changed(studio, worklist), refused=("PI",))
    facts = facts_of(pydicom.dcmread(BytesIO(files["measurements.dcm"])))
    assert facts.groups == 4
    assert {name.rpartition(":")[2] for name in facts.values} == {"OC", "DAA", "DIVC"}
