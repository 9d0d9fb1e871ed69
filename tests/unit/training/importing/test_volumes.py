"""Every format of the field is the same case; hostile and ambiguous headers are refused."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from tests.support.labelled_volumes import (
    grid,
    imported,
    only,
    painted,
    pair,
    write,
)


@pytest.mark.parametrize("end", [".mha", ".nrrd", ".NRRD", ".nii"])
def test_every_format_is_the_same_case(tmp_path: Path, end: str) -> None:
    image, labels = painted(grid())
    pair(image, labels, tmp_path / "a", f"p{end.lower()}", f"p{end.lower()}")
    for file in list((tmp_path / "a").rglob(f"*{end.lower()}")):
        file.rename(file.with_name(f"p{end}"))
    write(tmp_path / "b", "p", image, labels)
    for folder in (tmp_path / "a", tmp_path / "b"):
        done, _ = imported(folder)
        assert not done.refused
    one, other = only(tmp_path / "a"), only(tmp_path / "b")
    np.testing.assert_allclose(one.affine, other.affine, atol=1e-4)
    assert np.array_equal(one.labels, other.labels)
    np.testing.assert_allclose(one.image, other.image, atol=1e-2)


def test_nifti_2_is_read(tmp_path: Path) -> None:
    write(tmp_path, "p", *painted(grid()))
    for file in tmp_path.rglob("*.nii.gz"):
        read: Any = nibabel.load(file)
        made = nibabel.nifti2.Nifti2Image(np.asanyarray(read.dataobj), read.affine)  # type: ignore[no-untyped-call]
        file.unlink()
        nibabel.save(made, file)  # type: ignore[no-untyped-call]
        assert gzip.decompress(file.read_bytes())[:4] == (540).to_bytes(4, "little")
    done, _ = imported(tmp_path)
    assert len(done.imported) == 1


def test_a_header_with_two_places_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "p", *painted(grid()))
    for file in tmp_path.rglob("*.nii.gz"):
        read: Any = nibabel.load(file)
        other = read.affine.copy()
        other[0] *= -1
        made = nibabel.nifti1.Nifti1Image(np.asanyarray(read.dataobj), read.affine)  # type: ignore[no-untyped-call]
        made.set_sform(read.affine, 1)  # type: ignore[no-untyped-call]
        made.set_qform(other, 1)  # type: ignore[no-untyped-call]
        nibabel.save(made, file)  # type: ignore[no-untyped-call]
    done, _ = imported(tmp_path)
    assert re.search(
        r"images/p\.nii\.gz: rule orientation: qform and sform place it \d+ mm apart",
        done.refused[0],
    )


@pytest.mark.parametrize(
    ("spoil", "rule"),
    [
        (lambda b: b[:-200], "rule readable: not an intact file"),
        (lambda b: b.replace(b"ElementDataFile = LOCAL", b"ElementDataFile = other"), "in another file"),
        (lambda b: b.replace(b"TransformMatrix", b"Somethingelse  "), "names no directions"),
        (lambda b: re.sub(rb"DimSize = [^\n]*", b"DimSize = 99999 99999 99999", b), "large-enough"),
        (lambda _: b"", "rule readable"),
    ],
)  # fmt: skip
def test_hostile_headers_are_refused(
    tmp_path: Path, spoil: Callable[[bytes], bytes], rule: str
) -> None:
    image, labels = painted(grid())
    pair(image, labels, tmp_path, "p.mha", "p.mha")
    file = tmp_path / "images" / "p.mha"
    file.write_bytes(spoil(file.read_bytes()))
    done, _ = imported(tmp_path)
    assert rule in done.refused[0]


def test_a_nifti_header_that_demands_all_memory_is_refused_before_it_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, "p", *painted(grid()))
    file = tmp_path / "images" / "p.nii.gz"
    content = bytearray(gzip.decompress(file.read_bytes()))
    content[42:48] = np.array([32_000, 32_000, 32_000], "<i2").tobytes()  # dim[1..3]
    file.write_bytes(gzip.compress(bytes(content)))
    monkeypatch.setattr(np, "asanyarray", lambda *_: pytest.fail("its voxels were read"))
    done, _ = imported(tmp_path)
    assert "images/p.nii.gz: rule large-enough: (32000, 32000, 32000) voxels" in done.refused[0]
