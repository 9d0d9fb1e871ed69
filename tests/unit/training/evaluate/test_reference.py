"""Reference measurements: the card's truth first, else the labels, measured by the service's code."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dicomseg.volume import build_affine
from training.data.cases import ALL_STRUCTURES, Case
from training.evaluate.reference import references
from training.fit.augment import SPACING_MM

SHAPE = (72, 112, 160)
RADII = {6: 6.0, 8: 9.0}


def columns() -> Case:
    """Two bodies and a disc, muscles beside them, two upright vessels of known size in front."""
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij"), -1)
    z, y, x = np.moveaxis((grid - np.array([36, 60, 80])) * SPACING_MM, -1, 0)
    labels = np.zeros(SHAPE, np.uint8)
    body = (x / 24) ** 2 + (y / 17) ** 2 < 1
    labels[body & (z > 5)], labels[body & (abs(z) <= 5)], labels[body & (z < -5)] = 1, 2, 3
    labels[(x / 8) ** 2 + ((y - 27) / 7) ** 2 < 1] = 4
    labels[((abs(x) - 43) / 14) ** 2 + (y / 14) ** 2 < 1] = 7
    labels[(x - 12) ** 2 + (y + 27) ** 2 < RADII[6] ** 2] = 6
    labels[(x + 14) ** 2 + (y + 29) ** 2 < RADII[8] ** 2] = 8
    affine = build_affine(np.eye(3)[:, ::-1], SPACING_MM, (10.0, -20.0, 30.0))
    centre = affine[:3, :3] @ np.array([36, 60, 80]) + affine[:3, 3]
    image = np.zeros(SHAPE, np.float32)
    level = (float(centre[0]), float(centre[1]), float(centre[2]))
    return Case("c", "p", "imported", image, labels, affine, ALL_STRUCTURES, level, (0, 0, 1), {})


def test_labels_of_known_shapes_give_their_lengths() -> None:
    got = references(columns())
    gap = np.hypot(43 - 12, 27)  # between centres; the muscle is a circle of 14 mm
    want = {
        "DAA": 2 * RADII[6],
        "DIVC": 2 * RADII[8],
        "OC": gap - 14 - RADII[6],
        "PI": np.hypot(43 - 14, 29) - 14 - RADII[8],
    }
    for name, value in want.items():
        assert got[name].value_mm == pytest.approx(value, abs=0.4), name
        assert got[name].source == "labels"


def test_the_cards_truth_comes_first_and_absence_stays_absent() -> None:
    values = {
        "OC": {"value_mm": 3.5, "note": "left"},
        "DAA": {"value_mm": None, "note": "no section"},
    }
    got = references(replace(columns(), card={"measurements": values}))
    assert (got["OC"].value_mm, got["OC"].source) == (3.5, "truth")
    assert (got["DAA"].value_mm, got["DAA"].note) == (None, "no section")
    assert got["PI"].value_mm is None


def test_what_is_not_labelled_has_no_reference() -> None:
    spine = replace(columns(), labelled=("l4", "ivd", "l5", "dura"))
    assert {r.source for r in references(spine).values()} == {""}
    partly = replace(columns(), labelled=("l4", "ivd", "l5", "dura", "pm", "aa"))
    got = references(partly)
    assert (got["DAA"].source, got["DIVC"].source) == ("labels", "")
