"""An opening is said once."""

from __future__ import annotations

from node.console.openings import AGAIN_S, MOST, Openings


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_same_person_and_study_are_one_opening_for_an_hour() -> None:
    clock = Clock()
    openings = Openings(clock)
    assert openings.is_new("anna", "1.2")
    clock.now += AGAIN_S - 1
    assert not openings.is_new("anna", "1.2")
    assert openings.is_new("boris", "1.2")
    assert openings.is_new("anna", "1.3")
    clock.now += 1
    assert openings.is_new("anna", "1.2")
    assert not openings.is_new("anna", "1.3")


def test_a_person_who_opens_everything_takes_no_memory() -> None:
    openings = Openings(Clock())
    assert all(openings.is_new("anna", f"1.{n}") for n in range(MOST + 5))
    assert not openings.is_new("anna", f"1.{MOST + 4}")
    assert openings.is_new("anna", "1.0"), "the oldest were forgotten"
