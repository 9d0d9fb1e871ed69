"""Objects in the form that a destination wants, made out of a result folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from dicomseg.encode import seg
from dicomseg.encode.context import to_bytes
from dicomseg.implementation import LABEL_MAP_STORAGE
from node.config.profiles import OBJECT_FILES, PICTURES, PROFILES, Profile, ProfileName
from node.deliver.forms import base_name, prepare, sent_names
from node.errors import DamagedResult
from tests.support.result_folders import list_objects
from tests.support.seg_inputs import FORMS
from tests.support.sent_results import write_small_result

ALL = ("seg.dcm", "midplane.dcm", "measurements.dcm", "volumes.dcm")


def formed(kind: Any, objects: Any = ALL) -> Profile:
    return Profile(objects, kind, "none")


@pytest.mark.parametrize(
    ("kind", "matrix", "names"),
    [
        ("default", (24, 40), ("seg.dcm", "volumes.dcm")),
        ("binary", (24, 40), ("seg.dcm", "volumes.dcm")),
        ("binary", (23, 41), ("seg.binary.dcm", "volumes.binary.dcm")),
        ("fractional", (24, 40), ("seg.fractional.dcm", "volumes.fractional.dcm")),
        ("fractional", (23, 41), ("seg.dcm", "volumes.dcm")),
        ("labelmap", (24, 40), ("seg.labelmap.dcm", "volumes.labelmap.dcm")),
        ("labelmap", (23, 41), ("seg.labelmap.dcm", "volumes.labelmap.dcm")),
    ],
)
def test_names_say_the_form_where_it_is_not_that_of_the_result_folder(
    studio: Any, tmp_path: Path, kind: str, matrix: tuple[int, int], names: tuple[str, str]
) -> None:
    folder, inputs = write_small_result(studio, tmp_path / "r", rows=matrix[0], columns=matrix[1])
    sent = sent_names(folder, formed(kind))
    assert sent == (names[0], "midplane.dcm", "measurements.dcm", names[1])
    assert tuple(base_name(name) for name in sent) == ALL
    files = prepare(folder, sent, tmp_path / "out")
    assert tuple(f.name for f in files) == sent
    form = None if kind == "default" else FORMS[kind]
    assert files[0].path.read_bytes() == to_bytes(seg.encode(inputs, form))
    assert files[0].sop_instance in files[3].path.read_bytes().decode("latin-1")
    assert {f.path.parent.name for f in files} == {folder.name}
    assert [f.path.is_relative_to(folder) for f in files] == [n in ALL for n in sent]


@pytest.mark.parametrize("profile", PROFILES)
def test_every_profile_gives_its_objects_and_plain_copies_of_the_compressed(
    studio: Any, tmp_path: Path, profile: ProfileName
) -> None:
    folder, _ = write_small_result(studio, tmp_path / "r")
    sends = PROFILES[profile]
    files = prepare(
        folder, sent_names(folder, sends), tmp_path / "out", compress=sends.compress == "rle"
    )
    assert tuple(base_name(f.name) for f in files) == sends.objects
    pixels = {"midplane.dcm", "summary.dcm", *(["seg.labelmap.dcm"] if profile == "weasis" else [])}
    for file in files:
        if sends.compress == "none" or file.name not in pixels:
            assert (file.plain, file.transfer_syntax) == (None, ExplicitVRLittleEndian)
            continue
        assert file.transfer_syntax == RLELossless
        assert file.plain is not None
        assert file.plain.transfer_syntax == ExplicitVRLittleEndian
        assert (file.plain.name, file.plain.sop_instance) == (file.name, file.sop_instance)
        pair = [dcmread(f.path).pixel_array for f in (file, file.plain)]
        assert np.array_equal(*pair)
    classes = {f.name: f.sop_class for f in files}
    assert (LABEL_MAP_STORAGE in classes.values()) == (profile == "weasis")


def test_the_same_result_gives_the_same_bytes_and_leaves_nothing_of_the_last_time(
    studio: Any, tmp_path: Path
) -> None:
    folder, _ = write_small_result(studio, tmp_path / "r")
    names = sent_names(folder, formed("labelmap"))
    first = prepare(folder, names, tmp_path / "out", compress=True)
    (tmp_path / "out" / "left over by a kill").write_bytes(b"x")
    again = prepare(folder, names, tmp_path / "out", compress=True)
    assert first == again
    assert not (tmp_path / "out" / "left over by a kill").exists()
    assert (tmp_path / "out").stat().st_mode & 0o077 == 0
    prepare(folder, ALL, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_names_of_two_forms_are_two_objects(studio: Any, tmp_path: Path) -> None:
    folder, _ = write_small_result(studio, tmp_path / "r")
    files = prepare(folder, ("seg.dcm", "seg.labelmap.dcm"), tmp_path / "out")
    assert [f.name for f in files] == ["seg.dcm", "seg.labelmap.dcm"]
    assert files[0].sop_instance != files[1].sop_instance
    assert files[0].series != files[1].series


def test_pictures_that_a_result_lacks_are_left_out(studio: Any, tmp_path: Path) -> None:
    folder, _ = write_small_result(studio, tmp_path / "r")
    for name in ("summary.dcm", "surface.dcm"):
        (folder / name).unlink()
    list_objects(folder)
    files = prepare(folder, OBJECT_FILES, tmp_path / "out", compress=True)
    assert [f.name for f in files] == [*ALL, "report.dcm"]


def test_a_damaged_or_foreign_segmentation_is_said_and_never_sent(
    studio: Any, tmp_path: Path
) -> None:
    folder, _ = write_small_result(studio, tmp_path / "r")
    content = (folder / "seg.dcm").read_bytes()
    for damage in (content[:-1], b""):
        (folder / "seg.dcm").write_bytes(damage)
        with pytest.raises(DamagedResult, match=r"seg\.dcm: not the bytes"):
            prepare(folder, sent_names(folder, formed("labelmap")), tmp_path / "out")
    (folder / "seg.dcm").unlink()
    with pytest.raises(DamagedResult, match=r"seg\.dcm: No such file"):
        prepare(folder, sent_names(folder, formed("labelmap")), tmp_path / "out")
    # of another program, or of a result with another identity: its UIDs are not ours to change
    other = folder.rename(folder.with_name("f" * 32))
    (other / "seg.dcm").write_bytes(content)
    with pytest.raises(DamagedResult, match="another form"):
        prepare(other, sent_names(other, formed("labelmap")), tmp_path / "out")
    list_objects(other)
    assert prepare(other, ALL, tmp_path / "out")[0].name == "seg.dcm"


def test_a_result_without_any_of_the_wanted_objects_is_said_and_not_taken_for_sent(
    studio: Any, tmp_path: Path
) -> None:
    folder, _ = write_small_result(studio, tmp_path / "r")
    for name in PICTURES:
        (folder / name).unlink(missing_ok=True)
    list_objects(folder)
    with pytest.raises(DamagedResult, match=r"none of report\.dcm, summary\.dcm"):
        prepare(folder, ("report.dcm", "summary.dcm"), tmp_path / "out")
