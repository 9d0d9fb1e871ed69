"""A stranger in the series does not cost the series, and no slice that belongs to it is set aside."""

from __future__ import annotations

import copy
import random
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import given as drawn
from hypothesis import strategies as st
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from dicomseg.encode import gather
from dicomseg.read.contrast import read_contrast, read_dixon
from dicomseg.read.geometry_problem import GeometryProblem, display_name
from dicomseg.read.header import instance_from_dataset
from dicomseg.read.series import Grid, assemble, assemble_all, expected_count

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
PRESENTATION_STATE = "1.2.840.10008.5.1.4.1.1.11.1"
SIEMENS_NON_IMAGE = "1.3.12.2.1107.5.9.1"
SAGITTAL = {"row_lps": (0.0, 1.0, 0.0), "column_lps": (0.0, 0.0, -1.0)}
BARE = {"position_lps": None, "row_lps": None, "column_lps": None, "spacing_mm": None}


@pytest.fixture
def whole(scan):
    return [
        replace(
            instance_from_dataset(ds, Path(f"{n}.dcm"), ""),
            pixel_digest=f"p{n}",
            acquisition_number=1,
        )
        for n, ds in enumerate(scan.datasets())
    ]


@pytest.mark.parametrize("announced", [None, 14, 20])
def test_what_is_set_aside_is_a_warning_of_the_result(whole, announced):
    counted = [replace(i, images_in_acquisition=announced) for i in whole]
    found = assemble([*counted, another(counted[3], sop_class_uid=SECONDARY_CAPTURE, **BARE)])
    assert isinstance(found, Grid)
    warnings = gather._series_findings(found)
    assert [w.code for w in warnings] == ["set_aside", *["count_differs"] * (announced == 20)]
    assert "instance 99: not an MR image" in warnings[0].text
    assert {w.severity for w in warnings} == {"warning"}


def test_slices_with_the_pixels_of_another_are_a_warning(whole):
    empty = [
        replace(i, pixel_digest="empty") if n in {0, 1, 13} else i for n, i in enumerate(whole)
    ]
    found = assemble(empty)
    assert isinstance(found, Grid)
    assert gather._series_findings(found) == ()
    empty[7] = replace(empty[7], pixel_digest=empty[6].pixel_digest)
    (warning,) = gather._series_findings(assemble(empty))
    assert (warning.code, warning.severity) == ("repeated_pixels", "warning")
    assert warning.text.startswith(
        f"{display_name(whole[6])}, {display_name(whole[7])}: identical pixels"
    )


@pytest.mark.parametrize("n", [0, 5, 13])
def test_an_absent_frame_of_reference_contradicts_none(whole, n):
    given = [*whole]
    given[n] = replace(given[n], frame_of_reference_uid="")
    found = assemble(given)
    assert isinstance(found, Grid)
    assert found.shape[0] == 14
    assert found.frame_of_reference_uid == whole[1 if n == 0 else 0].frame_of_reference_uid


def another(instance, number=99, **changes):
    """The same object under another UID, changed."""
    changes = {"sop_instance_uid": f"9.9.{number}", "instance_number": number} | changes
    return replace(instance, **changes)


def again(whole, number=100, **changes):
    """The complete series under other UIDs, changed."""
    return [another(i, number + n, **changes) for n, i in enumerate(whole)]


def moved(instance, by_mm, **changes):
    position = np.array(instance.position_lps) + by_mm
    return replace(instance, position_lps=tuple(float(v) for v in position), **changes)


STRANGERS = {
    "secondary capture": (
        lambda w: [another(w[3], sop_class_uid=SECONDARY_CAPTURE, frame_of_reference_uid="", **BARE)],
        "not-an-mr-image",
    ),
    "presentation state": (
        lambda w: [another(w[3], sop_class_uid=PRESENTATION_STATE, rows=None, columns=None, **BARE)],
        "not-an-mr-image",
    ),
    "private class": (
        lambda w: [another(w[3], n, sop_class_uid=SIEMENS_NON_IMAGE, **BARE) for n in (98, 99)],
        "not-an-mr-image",
    ),
    "localizer": (
        lambda w: [another(w[3], image_type=("ORIGINAL", "PRIMARY", "LOCALIZER"), **SAGITTAL)],
        "localizer",
    ),
    "slice of another orientation": (lambda w: [another(w[3], **SAGITTAL)], "mixed-orientations"),
    "three scouts": (
        lambda w: [another(w[3], n, rows=64, columns=64, **SAGITTAL) for n in (97, 98, 99)],
        "mixed-sizes",
    ),
    "slice of another size": (lambda w: [another(w[3], rows=9)], "mixed-sizes"),
    "slice of another frame of reference": (
        lambda w: [another(w[3], frame_of_reference_uid="7.7")],
        "mixed-frames-of-reference",
    ),
    "slice of another pixel spacing": (lambda w: [another(w[3], spacing_mm=(0.9, 0.9))], "mixed-spacing"),
    "a slice twice with equal pixels": (lambda w: [another(w[3])], "repeated-slices"),
    "three slices twice": (lambda w: [another(w[n], 90 + n) for n in (2, 3, 13)], "repeated-slices"),
    "a slice twice with equal pixels, another acquisition": (
        lambda w: [another(w[3], acquisition_number=2)],
        "repeated-slices",
    ),
    "a slice again with other pixels, another acquisition": (
        lambda w: [another(w[3], acquisition_number=2, pixel_digest="other")],
        "other-acquisition",
    ),
    "derived images": (
        lambda w: [another(w[3], 90 + n, image_type=("DERIVED", "PRIMARY")) for n in range(5)],
        "mixed-contrasts",
    ),
    "fat": (lambda w: again(w, image_type=("ORIGINAL", "PRIMARY", "DIXON", "FAT")), "mixed-contrasts"),
    "phase": (lambda w: again(w, image_type=("ORIGINAL", "PRIMARY", "P", "ND")), "mixed-contrasts"),
    "a short echo": (lambda w: again(w, echo_time_ms=20.0), "two-echoes"),
    "a second echo number": (
        lambda w: again(w, echo_number=2, pixel_digest="e"),
        "other-acquisition",
    ),
    "an object of several frames": (
        lambda w: [another(w[3], frames=3, frame_positions_lps=tuple(i.position_lps for i in w[:3]))],
        "several-volumes",
    ),
}  # fmt: skip


@pytest.mark.parametrize("announced", [None, 14])
@pytest.mark.parametrize("kind", sorted(STRANGERS))
def test_a_stranger_is_set_aside_and_named(whole, kind, announced):
    whole = [replace(i, images_in_acquisition=announced) for i in whole]
    change, code = STRANGERS[kind]
    strangers = change(whole)
    given = random.Random(4).sample([*whole, *strangers], len(whole) + len(strangers))
    found, alone = assemble(given), assemble(whole)
    assert isinstance(found, Grid), found
    assert isinstance(alone, Grid)
    assert [i.position_lps for i in found.instances] == [i.position_lps for i in alone.instances]
    assert np.array_equal(found.affine, alone.affine)
    (aside,) = found.set_aside
    assert (aside.code, aside.count) == (code, sum(s.frames for s in strangers))
    assert alone.set_aside == ()
    assert {name.split(" frame")[0] for name in aside.names} <= {
        f"instance {s.instance_number}" for s in given
    }
    assert aside.names[0] in aside.text


def test_the_copy_that_stays_is_of_the_commonest_acquisition(whole):
    first = another(whole[3], number=1, acquisition_number=2)
    found = assemble([first, *whole])
    assert isinstance(found, Grid)
    assert found.instances == tuple(whole)


def test_of_two_acquisitions_the_later_one_is_used_whole(whole):
    later = again(whole, acquisition_number=2, pixel_digest="later")
    found = assemble([*whole, *later])
    assert isinstance(found, Grid)
    assert {i.acquisition_number for i in found.instances} == {2}
    assert [(a.code, a.count) for a in found.set_aside] == [("other-acquisition", 14)]
    assert "acquisition number" in found.set_aside[0].text


@pytest.mark.parametrize(
    "marks", [{"temporal_position": 2}, {"acquisition_time": "090000", "acquisition_date": "20260101"}]
)  # fmt: skip
def test_two_time_points_are_told_apart(whole, marks):
    plain = [replace(i, temporal_position=1, acquisition_time="080000", acquisition_date="20260101") for i in whole]  # fmt: skip
    found = assemble([*plain, *again(plain, pixel_digest="later", **marks)])
    assert isinstance(found, Grid)
    assert found.shape[0] == 14
    assert len({i.temporal_position for i in found.instances}) == 1
    if "acquisition_time" in marks:
        assert {i.acquisition_time for i in found.instances} == {"090000"}


def test_a_second_acquisition_that_is_incomplete_is_not_taken(whole):
    later = again(whole, acquisition_number=2, pixel_digest="later")
    found = assemble([*whole, *later[:5], *later[6:]])
    assert isinstance(found, Grid)
    assert {i.acquisition_number for i in found.instances} == {1}


def test_a_moved_second_acquisition_is_told_apart(whole):
    later = [moved(i, [0, 0, 0.31]) for i in again(whole, acquisition_number=2)]
    found = assemble([*whole, *later])
    assert isinstance(found, Grid)
    assert {i.acquisition_number for i in found.instances} == {2}


def test_interleaved_acquisitions_are_one_volume(whole):
    found = assemble([replace(i, acquisition_number=1 + n % 2) for n, i in enumerate(whole)])
    assert isinstance(found, Grid)
    assert found.shape[0] == 14
    assert found.set_aside == ()


FLAWS = {
    "one missing": lambda w: [*w[:5], *w[6:]],
    "two missing": lambda w: [*w[:5], *w[6:9], *w[10:]],
    "one displaced": lambda w: [*w[:5], moved(w[5], [0, 0, 0.3]), *w[6:]],
}


@pytest.mark.parametrize("flaw", sorted(FLAWS))
@pytest.mark.parametrize("kind", sorted(STRANGERS))
def test_a_stranger_hides_no_missing_slice(whole, kind, flaw):
    strangers = STRANGERS[kind][0](whole)
    if kind in {"fat", "phase", "a short echo", "a second echo number"}:
        strangers = FLAWS[flaw](strangers)
    if kind.startswith(("a slice", "three slices")) and "missing" in flaw:
        strangers = [s for s in strangers if s.position_lps != whole[5].position_lps]
    given = [*FLAWS[flaw](whole), *strangers]
    found = assemble(given)
    assert isinstance(found, GeometryProblem), found


@pytest.mark.parametrize("flaw", sorted(FLAWS))
def test_interleaved_acquisitions_hide_no_flaw(whole, flaw):
    marked = [replace(i, acquisition_number=1 + n % 2) for n, i in enumerate(whole)]
    assert isinstance(assemble(FLAWS[flaw](marked)), GeometryProblem)


ODD_AT_THE_END = {
    "no position": BARE,
    "other orientation": SAGITTAL,
    "other frame of reference": {"frame_of_reference_uid": "7.7"},
    "other size": {"rows": 9},
}


@pytest.mark.parametrize("kind", sorted(ODD_AT_THE_END))
def test_a_broken_last_slice_is_missed_where_the_number_is_announced(whole, kind):
    counted = [replace(i, images_in_acquisition=14) for i in whole]
    found = assemble([*counted[:-1], replace(counted[-1], **ODD_AT_THE_END[kind])])
    assert isinstance(found, GeometryProblem)
    assert "instance 14" in found.text


@pytest.mark.parametrize("lost", [BARE, {"rows": None}, {"columns": None}, {"spacing_mm": None}])
def test_a_slice_that_lost_its_geometry_is_missed(whole, lost):
    found = assemble([*whole[:-1], replace(whole[-1], **lost)])
    assert isinstance(found, GeometryProblem)
    assert found.code == "no-geometry"


def test_a_picture_of_another_size_without_position_is_set_aside(whole):
    found = assemble([*whole, another(whole[3], rows=512, columns=512, **BARE)])
    assert isinstance(found, Grid)
    assert [(a.code, a.count) for a in found.set_aside] == [("no-geometry", 1)]


UNLIKE = {
    "derived": ({"image_type": ("DERIVED", "PRIMARY")}, "contrast"),
    "phase": ({"image_type": ("ORIGINAL", "PRIMARY", "P")}, "contrast"),
    "other echo time": ({"echo_time_ms": 20.0}, "echo time"),
}


@pytest.mark.parametrize("count", [1, 2])
@pytest.mark.parametrize("kind", sorted(UNLIKE))
def test_last_slices_that_are_marked_otherwise_are_missed(scan, kind, count):
    whole = [
        instance_from_dataset(ds, Path("x"), "")
        for ds in replace(scan, shape=(16, 6, 5)).datasets()
    ]
    change, what = UNLIKE[kind]
    found = assemble([*whole[:-count], *(replace(i, **change) for i in whole[-count:])])
    assert isinstance(found, GeometryProblem)
    assert "instance 16: " in found.text
    assert what in found.text
    assert "which they continue" in found.text


@pytest.mark.parametrize("first", [12, 14, 16])
def test_a_volume_in_two_objects_of_many_frames_is_refused(scan, first):
    scan = replace(scan, shape=(28, 6, 5))
    whole = instance_from_dataset(scan.enhanced(), Path("x"), "")
    pieces = [
        another(
            whole, n, frames=stop - start, frame_positions_lps=whole.frame_positions_lps[start:stop]
        )
        for n, (start, stop) in enumerate([(0, first), (first, 28)], 1)
    ]
    found = assemble(pieces)
    assert isinstance(found, GeometryProblem)
    assert found.code == "several-volumes"
    assert "one volume in several multi-frame objects" in found.text


def test_frames_of_another_echo_do_not_speak_for_the_chosen_ones(scan):
    """The first frame of an Enhanced object may be of the shorter echo, or a localizer."""
    one = instance_from_dataset(replace(scan, shape=(28, 6, 5)).enhanced(), Path("x"), "")
    places = one.frame_positions_lps[:14] * 2
    proton, t2 = ("ORIGINAL", "PRIMARY", "LOCALIZER"), ("ORIGINAL", "PRIMARY", "VOLUME")
    two = replace(
        one,
        echo_time_ms=20.0,
        image_type=("MIXED", "PRIMARY", "VOLUME"),
        frame_positions_lps=places,
        frame_echo_times_ms=(20.0,) * 14 + (120.0,) * 14,
        frame_image_types=(proton,) * 14 + (t2,) * 14,
    )
    found = assemble([two])
    assert isinstance(found, Grid)
    assert set(found.frame_order) == set(range(14, 28))
    assert (found.instances[0].echo_time_ms, found.instances[0].image_type) == (120.0, t2)


@pytest.mark.parametrize(
    ("group", "keyword"),
    [
        ("PlaneOrientationSequence", "ImageOrientationPatient"),
        ("PixelMeasuresSequence", "PixelSpacing"),
    ],
)
def test_a_frame_without_geometry_does_not_take_the_first_ones(scan, group, keyword):
    ds = replace(scan, shape=(28, 6, 5)).enhanced()
    shared = ds.SharedFunctionalGroupsSequence[0]
    held = {"PlaneOrientationSequence": None, "PixelMeasuresSequence": None}
    for name in held:
        held[name] = shared.get(name) or ds.PerFrameFunctionalGroupsSequence[0][name].value
        if name in shared:
            del shared[name]
    other = {"ImageOrientationPatient": [0, 1, 0, 0, 0, -1], "PixelSpacing": [2, 2]}[keyword]
    for n, frame in enumerate(ds.PerFrameFunctionalGroupsSequence):
        for name, items in held.items():
            frame[name] = DataElement(Tag(name), "SQ", [copy.deepcopy(items[0])])
        if 0 < n < 27:
            setattr(frame[group].value[0], keyword, other)
        if n == 27:
            del frame[group]
    found = assemble([instance_from_dataset(ds, Path("x"), "")])
    if isinstance(found, Grid):
        assert set(found.frame_order) <= set(range(1, 27))
        assert found.spacing_mm[1] == pytest.approx(2.0)


@pytest.mark.parametrize("keyword", ["TemporalPositionIndex", "FrameAcquisitionNumber"])
def test_repeated_frames_are_told_apart(scan, keyword):
    ds = replace(scan, shape=(28, 6, 5)).enhanced()
    frames = ds.PerFrameFunctionalGroupsSequence
    for n, frame in enumerate(frames):
        frame.PlanePositionSequence = frames[n % 14].PlanePositionSequence
        content = Dataset()
        setattr(content, keyword, 1 + n // 14)
        frame.FrameContentSequence = [content]
    found = assemble([instance_from_dataset(ds, Path("x"), "")])
    assert isinstance(found, Grid)
    assert sorted(found.frame_order) in (list(range(14)), list(range(14, 28)))
    assert [(s.code, s.count) for s in found.set_aside] == [("other-acquisition", 14)]
    assert found.reaches(28)


HALVES = {
    "orientation": SAGITTAL,
    "frame of reference": {"frame_of_reference_uid": "7.7"},
    "size": {"rows": 9},
}


@pytest.mark.parametrize("kind", sorted(HALVES))
def test_two_equal_halves_are_no_choice_and_both_named(whole, kind):
    other = again(whole, **HALVES[kind])
    if kind == "orientation":
        other = [moved(i, [0.9 * n, 0, -0.9 * n]) for n, i in enumerate(other)]
    found = assemble([*whole, *other])
    assert isinstance(found, GeometryProblem)
    assert "two volumes of 14 slices" in found.text
    assert "instance 1, " in found.text
    assert "instance 10" in found.text.split(";")[1]


def test_of_two_stacks_the_larger_one_is_used_and_the_other_named(whole):
    other = [moved(i, [0.9 * n, 0, -0.9 * n]) for n, i in enumerate(again(whole, **SAGITTAL))]
    found = assemble([*whole, *other[:12]])
    assert isinstance(found, Grid)
    assert found.orientation == "axial"
    assert [(a.code, a.count) for a in found.set_aside] == [("mixed-orientations", 12)]


def test_all_volumes_are_giventhe_preferred_first(whole):
    kinds = ["FAT", "OPP_PHASE", "WATER", "IN_PHASE"]
    given = [
        i
        for n, kind in enumerate(kinds)
        for i in again(whole, 100 * n, image_type=("ORIGINAL", "PRIMARY", "DIXON", kind))
    ]
    found = assemble_all([replace(i, images_in_acquisition=56) for i in given])
    assert not isinstance(found, GeometryProblem)
    assert [g.instances[0].image_type[-1] for g in found] == ["WATER", "IN_PHASE", "OPP_PHASE", "FAT"]  # fmt: skip
    assert found[0].reaches(56)
    assert found[0].reaches(14)
    assert not found[0].reaches(64)


def test_a_stranger_does_not_change_the_announced_number(whole):
    counted = [replace(i, images_in_acquisition=14) for i in whole]
    stranger = another(whole[0], sop_class_uid=SECONDARY_CAPTURE, images_in_acquisition=None)
    assert expected_count([*counted, stranger]) == 14


PATIENT = ("id", "issuer", "name", "", "", "birth")
OTHERS = {
    "Patient ID": ("other", "issuer", "name", "", "", "birth"),
    "Issuer": ("id", "other", "name", "", "", "birth"),
    "Name": ("id", "issuer", "other", "", "", "birth"),
    "Birth": ("id", "issuer", "name", "", "", "other"),
}


@pytest.mark.parametrize("what", sorted(OTHERS))
def test_two_patients_in_one_series_are_refused(whole, what):
    given = [replace(i, patient=PATIENT if n < 9 else OTHERS[what]) for n, i in enumerate(whole)]
    found = assemble(given)
    assert isinstance(found, GeometryProblem)
    assert found.code == "mixed-patients"
    assert what in found.text
    assert "instance 10, instance 11" in found.text


def test_two_patients_are_refused_even_where_the_second_has_a_stranger_only(whole):
    given = [replace(i, patient=PATIENT) for i in whole]
    odd = another(given[3], sop_class_uid=SECONDARY_CAPTURE, patient=OTHERS["Patient ID"])
    found = assemble([*given, odd])
    assert isinstance(found, GeometryProblem)
    assert found.code == "mixed-patients"


SAME_PERSON = [
    {"PatientName": "Doe^Jane"},
    {"PatientName": "DOE^JANE"},
    {"PatientName": "Doe^Jane^^^"},
    {"PatientName": " Doe ^Jane "},
    {"PatientName": "DOE JANE"},
    {"PatientName": ""},
    {"PatientName": "Doe^Jane=山田"},
    {"PatientID": " 7 "},
    {"IssuerOfPatientID": ""},
    {"PatientBirthDate": ""},
]


def test_how_a_name_is_written_makes_no_other_person(scan):
    given = []
    for n, ds in enumerate(scan.datasets()):
        ds.SpecificCharacterSet = "ISO_IR 192"
        ds.PatientName, ds.PatientID, ds.IssuerOfPatientID = "Doe^Jane", "7", "HOSPITAL"
        ds.PatientBirthDate = "19500101"
        for keyword, value in SAME_PERSON[n % len(SAME_PERSON)].items():
            setattr(ds, keyword, value)
        given.append(instance_from_dataset(ds, Path(f"{n}.dcm"), ""))
    assert isinstance(assemble(given), Grid)
    assert "doe" not in repr(given).casefold()


@pytest.mark.parametrize(
    ("image_type", "description", "dixon"),
    [
        (("ORIGINAL", "PRIMARY", "DIXON", "WATER"), "", "water"),
        (("DERIVED", "PRIMARY", "DIXON", "OPP_PHASE", "NORM"), "", "opposed phase"),
        (("ORIGINAL", "PRIMARY", "W", "W", "DERIVED"), "", "water"),
        (("ORIGINAL", "PRIMARY", "F"), "", "fat"),
        (("ORIGINAL", "PRIMARY", "IP"), "", "in phase"),
        (("ORIGINAL", "PRIMARY", "M", "ND"), "t2_spc_dixon_F", "fat"),
        (("ORIGINAL", "PRIMARY", "OTHER"), "WATER: Sag T2 CUBE Flex", "water"),
        (("ORIGINAL", "PRIMARY", "OTHER"), "InPhase: Sag T2 CUBE Flex", "in phase"),
        (("ORIGINAL", "PRIMARY", "M"), "t2_space_dixon_opp", "opposed phase"),
        (("ORIGINAL", "PRIMARY", "M"), "t2_space_fat_sat", ""),
        (("ORIGINAL", "PRIMARY", "M"), "t2_space_fatsat_sag", ""),
        (("ORIGINAL", "PRIMARY", "M", "NORM", "DIS3D"), "t2_space_sag_iso", ""),
        (("ORIGINAL", "PRIMARY", "M_FFE", "M", "FFE"), "", ""),
    ],
)
def test_images_of_a_dixon_are_named(whole, image_type, description, dixon):
    changed = replace(whole[0], image_type=image_type, series_description=description)
    assert read_dixon(changed) == dixon


def test_contrasts_have_names_for_messages():
    assert read_contrast(("DERIVED", "PRIMARY", "DIXON", "FAT")).name == "derived fat"
    assert read_contrast(("ORIGINAL", "PRIMARY", "P")).name == "phase"
    assert read_contrast(("ORIGINAL", "PRIMARY", "M"), "IMAGINARY").name == "imaginary"
    assert read_contrast(("ORIGINAL", "PRIMARY", "M")).name == "plain"


CHANGES = [
    {},
    {},
    {"acquisition_number": 2},
    {"echo_time_ms": 20.0},
    {"echo_time_ms": None},
    {"image_type": ("DERIVED", "SECONDARY")},
    {"image_type": ("ORIGINAL", "PRIMARY", "LOCALIZER")},
    {"sop_class_uid": SECONDARY_CAPTURE},
    {"frame_of_reference_uid": "7.7"},
    {"spacing_mm": (0.0, 3.0)},
    {"row_lps": (0.0, 0.0, 0.0)},
    {"pixel_digest": ""},
    {"rows": None},
    BARE,
    SAGITTAL,
    {"frames": 3, "frame_positions_lps": ((0.0, 0.0, 0.0),) * 3},
]


@settings(
    max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@drawn(
    picks=st.lists(
        st.tuples(
            st.integers(0, 13),
            st.sampled_from(CHANGES),
            st.tuples(*[st.sampled_from([0.0, 0.0, 0.0, 0.05, -0.3, 0.9, 5e3])] * 3),
        ),
        max_size=40,
    )
)
def test_whatever_a_series_holds_its_grid_lies_where_its_slices_do(whole, picks):
    given = []
    for n, (index, changes, shift) in enumerate(picks):
        one = moved(whole[index], shift)
        given.append(replace(one, sop_instance_uid=f"8.{n}", instance_number=n, **changes))
    found = assemble(given)
    if isinstance(found, GeometryProblem):
        assert found.text
        return
    slices = len(found.frame_order or found.instances)
    assert found.shape[0] == slices
    if not found.frame_order:
        places = found.affine[:3, 3] + np.outer(np.arange(slices), found.affine[:3, 0])
        off = places - np.array([i.position_lps for i in found.instances])
        assert np.linalg.norm(off, axis=1).max() <= 0.1 + 1e-9
        aside = sum(a.count for a in found.set_aside if a.code != "several-volumes")
        frames = sum(i.frames > 1 and i.sop_class_uid != SECONDARY_CAPTURE for i in given)
        assert slices + aside >= len(given) - frames
