"""Names and titles of the main measurements, as they are written into coded concepts."""

from __future__ import annotations

import pytest

from dicomseg.measurement_names import MAIN_MEASUREMENTS, TITLES


@pytest.mark.parametrize("name", MAIN_MEASUREMENTS)
def test_a_title_fits_a_code_meaning_in_every_character_set(name: str) -> None:
    """A code value is an SH of 16 characters, its meaning an LO of 64 (PS3.5 6.2)."""
    assert len(name) <= 16
    assert len(TITLES[name]) <= 64
    assert TITLES[name].isascii()
    assert "\\" not in TITLES[name]


def test_every_measurement_has_a_title_and_no_other_name_has() -> None:
    assert tuple(TITLES) == MAIN_MEASUREMENTS
