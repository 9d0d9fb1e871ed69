"""The implementation's identity does not change with the code."""

from __future__ import annotations

from dicomseg.encode.uids import make_uid
from dicomseg.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION


def test_the_class_uid_is_made_like_every_other_uid() -> None:
    assert make_uid("implementation") == IMPLEMENTATION_CLASS_UID


def test_the_version_name_fits_a_file_meta_group() -> None:
    """An SH of 16 characters (PS3.10 7.1)."""
    assert len(IMPLEMENTATION_VERSION) <= 16
    assert IMPLEMENTATION_VERSION.isascii()
