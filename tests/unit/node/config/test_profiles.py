"""What a destination is sent: by its profile, and by what it says otherwise."""

from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest

from node.config.destinations import FolderDestination
from node.config.profiles import OBJECT_FILES, PROFILES, Profile, ProfileName, resolve


def test_every_name_has_a_profile_and_the_default_sends_everything_as_it_is() -> None:
    assert set(PROFILES) == set(get_args(ProfileName))
    assert (
        FolderDestination(name="f", kind="folder", path=Path("/x")).sends
        == PROFILES["dicom-viewer"]
    )
    default = PROFILES["dicom-viewer"]
    assert (default.objects, default.seg_form, default.compress) == (
        OBJECT_FILES,
        "default",
        "none",
    )


@pytest.mark.parametrize("name", PROFILES)
def test_objects_are_sent_once_and_in_the_order_in_which_they_refer_to_each_other(
    name: ProfileName,
) -> None:
    objects = PROFILES[name].objects
    assert list(objects) == [file for file in OBJECT_FILES if file in objects]


def test_profiles_differ_in_what_their_readers_need() -> None:
    weasis, images = PROFILES["weasis"], PROFILES["images-only"]
    assert (weasis.seg_form, weasis.compress) == ("labelmap", "rle")
    assert "surface.dcm" not in weasis.objects
    assert images.objects == ("midplane.dcm", "summary.dcm", "report.dcm")
    archive = PROFILES["archive-only"]
    assert {"seg.dcm", "volumes.dcm", "report.dcm"} <= set(archive.objects)
    assert not {"summary.dcm", "surface.dcm"} & set(archive.objects)
    assert archive.compress == "rle"


def test_a_destination_overrides_single_keys_of_its_profile() -> None:
    assert resolve("weasis") == PROFILES["weasis"]
    reader = PROFILES["weasis"].reader
    assert resolve("weasis", ("seg.dcm",), "default", "none") == Profile(
        ("seg.dcm",), "default", "none", reader
    )
    objects = PROFILES["weasis"].objects
    assert resolve("weasis", seg_form="default") == Profile(objects, "default", "rle", reader)
    config = FolderDestination(
        name="f", kind="folder", path=Path("/x"), profile="images-only", objects=("summary.dcm",)
    )
    assert config.sends.objects == ("summary.dcm",)
    assert config.sends.seg_form == "default"
