"""Wrong registration is noticed by turned looks, which an ordinary series never needs."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

from dicomseg.segmentation import Level, NotInView
from dicomseg.structures import BY_ID
from dicomseg.volume import AXIAL, Array, Volume, build_affine
from model.errors import OrientationRefused
from model.orientation import (
    HALF_TURNS,
    HalfTurn,
    half_turned,
    locate_level,
    mirror_image,
    refuse_clearer_turn,
    tilt_findings,
    vessel_confidence,
    vessel_findings,
)
from model.patch import Patch

CENTRE = (3.0, -4.0, 50.0)


def volume(directions: Array = AXIAL) -> Volume:
    return Volume(np.zeros((6, 5, 4)), build_affine(directions, (4.0, 1.0, 1.0), CENTRE))


def sure(confidence: float, *warnings: str) -> Level:
    return Level(CENTRE, (0.0, 0.0, 1.0), confidence, warnings)


@dataclass
class Finder:
    """Answers by the signs that a volume was turned by; counts how often it is asked."""

    answers: dict[tuple[int, int, int], Level | NotInView]
    asked: int = 0

    def locate(self, seen: Volume) -> Level | NotInView:
        self.asked += 1
        x, y, z = (int(s) for s in np.sign(seen.affine[:3, 3] / np.array(CENTRE)))
        return self.answers.get((x, y, z), NotInView())


FEET_FIRST = (-1, 1, -1)


def test_a_turn_exchanges_two_axes_and_keeps_every_voxel() -> None:
    for turn in HALF_TURNS:
        there = half_turned(volume(), turn)
        lps = volume().to_patient(np.array([1.0, 2.0, 3.0]))
        np.testing.assert_allclose(there.to_patient(np.array([1.0, 2.0, 3.0])), lps * turn.signs)
        assert np.linalg.det(np.diag(turn.signs)) == 1  # a turn, no mirror image
        assert there.array.base is volume().array.base or there.array.shape == volume().shape


def test_a_sure_level_is_analysed_mask_once() -> None:
    finder = Finder({(1, 1, 1): sure(0.6), FEET_FIRST: sure(0.99)})
    assert locate_level(volume(), finder) == sure(0.6)
    assert finder.asked == 1


@pytest.mark.parametrize("doubtful", [sure(0.37, "check the counting"), sure(0.55, "a rival")])
@pytest.mark.parametrize("turn", HALF_TURNS)
def test_a_doubtful_level_that_is_clear_when_turned_is_refused(
    doubtful: Level, turn: HalfTurn
) -> None:
    finder = Finder({(1, 1, 1): doubtful, turn.signs: sure(0.8)})
    with pytest.raises(OrientationRefused, match=f"registered with {turn.cause}") as raised:
        locate_level(volume(), finder)
    assert raised.value.code == "orientation_unexpected"
    assert "0.80 when turned" in str(raised.value)


@pytest.mark.parametrize(
    "elsewhere", [sure(0.56), sure(0.49), sure(0.9, "check the counting"), NotInView()]
)
def test_a_doubtful_level_that_is_no_clearer_when_turned_stays(elsewhere: Level) -> None:
    doubtful = sure(0.37, "check the counting")
    assert locate_level(volume(), Finder({(1, 1, 1): doubtful, FEET_FIRST: elsewhere})) == doubtful


def test_not_in_view_says_what_a_turned_look_shows() -> None:
    found = locate_level(volume(), Finder({FEET_FIRST: sure(0.8)}))
    assert isinstance(found, NotInView)
    assert found.reason.startswith("L4/5 not in the field of view; the picture fits a patient")
    assert locate_level(volume(), Finder({})) == NotInView()


def vessels(lead: float) -> Array:
    """Logits of an artery and a vein that lead all others by this much."""
    logits = np.zeros((9, 2, 2, 6), np.float32)
    for name, columns in (("aa", slice(4, 6)), ("ivc", slice(0, 2))):
        logits[BY_ID[name].value, :, :, columns] = lead  # type: ignore[index]
    logits[0, :, :, 2:4] = 9.0
    return logits


def probability(lead: float) -> float:
    return float(np.exp(lead) / (np.exp(lead) + 8))


@pytest.mark.parametrize(("lead", "refused"), [(3.0, True), (3.6, False)])
def test_a_sure_level_with_strange_vessels_is_analysed_mask_turned(
    lead: float, refused: bool
) -> None:
    """Head and feet, front and back exchanged: the level may look sure, the vessels do not."""
    finder = Finder({(1, -1, -1): sure(0.82), FEET_FIRST: sure(0.7)})
    if refused:
        with pytest.raises(OrientationRefused, match=r"0\.82 when turned, 0\.60 as sent"):
            refuse_clearer_turn(volume(), finder, sure(0.6), vessel_confidence(vessels(lead)))
        refuse_clearer_turn(
            volume(), finder, sure(0.7), vessel_confidence(vessels(lead))
        )  # not much surer
    else:
        refuse_clearer_turn(volume(), finder, sure(0.6), vessel_confidence(vessels(lead)))
        assert finder.asked == 0


@dataclass
class Engine:
    """Answers every patch alike and keeps what it was asked."""

    lead: float
    name: str = "fake"
    precision: str = "float32"
    interpolation: str = "linear"
    asked: list[Patch] = field(default_factory=list)

    def warm(self, shape: object) -> None: ...

    def run(self, patch: Patch) -> Array:
        self.asked.append(patch)
        return vessels(self.lead)


def patch() -> Patch:
    values = np.arange(24, dtype=np.float32).reshape(2, 2, 6)
    return Patch(values, values > 3, np.eye(4), 0.0, 1.0, (1.0, 0.0, 1.5))


def test_vessels_are_as_sure_as_their_softmax() -> None:
    assert vessel_confidence(vessels(4.0)) == pytest.approx(probability(4.0), abs=1e-6)
    assert vessel_confidence(vessels(-1.0)) is None


@pytest.mark.parametrize(
    ("here", "there", "asked", "flags"),
    [(5.0, 9.0, 0, []), (3.5, 5.0, 1, ["vessel_side_uncertain"]), (3.5, 3.55, 1, []), (3.5, 2.0, 1, [])],
)  # fmt: skip
def test_the_mirror_image_is_asked_only_where_the_vessels_are_weak(
    here: float, there: float, asked: int, flags: list[str]
) -> None:
    engine = Engine(there)
    found = vessel_findings(patch(), vessel_confidence(vessels(here)), engine)  # type: ignore[arg-type]
    assert [f.code for f in found] == flags
    assert {f.severity for f in found} <= {"warning"}
    assert len(engine.asked) == asked


def test_the_mirror_image_of_a_patch_has_its_level_on_the_other_side() -> None:
    one = patch()
    other = mirror_image(one)
    assert other.centre == (1.0, 0.0, 3.5)
    np.testing.assert_array_equal(other.values[..., 0], one.values[..., 5])
    np.testing.assert_array_equal(other.valid[..., 0], one.valid[..., 5])
    np.testing.assert_array_equal(mirror_image(other).values, one.values)


@pytest.mark.parametrize(("degrees", "flags"), [(0.0, 0), (19.5, 0), (20.5, 1), (-31.0, 1)])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_view_tilted_beyond_what_was_trained_is_flagged(
    degrees: float, flags: int, axis: int
) -> None:
    a, b = (n for n in range(3) if n != axis)
    turn = np.eye(3)
    c, s = np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))
    turn[a, a], turn[a, b], turn[b, a], turn[b, b] = c, -s, s, c
    sagittal = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])
    for directions in (AXIAL, sagittal):
        found = tilt_findings(volume(turn @ directions))
        assert [f.code for f in found] == ["tilted_view"] * flags
        if flags:
            assert f"{abs(degrees):.1f}°" in found[0].text
