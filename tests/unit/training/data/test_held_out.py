"""Cases apart from training, by patient."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from dicomseg.volume import build_affine
from training.data.cases import Case, save_case
from training.data.held_out import split_cases
from training.errors import SourceMissing


def tiny(name: str, patient: str) -> Case:
    image = np.random.default_rng(sum(name.encode())).normal(0, 1, (16, 16, 4))
    affine = build_affine(np.eye(3)[:, ::-1], (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    at = (0.0, 0.0, 0.0)
    return Case(
        name, patient, "imported", image.astype(np.float32), np.zeros(image.shape, np.uint8), affine,
        ("ivd",), at, (0.0, 0.0, 1.0), {"l45": at},
    )  # fmt: skip


def test_all_scans_of_a_held_out_patient_are_held_out(tmp_path: Path) -> None:
    for name, patient in (("import-a1", "A"), ("import-a2", "A"), ("import-b", "B")):
        save_case(tiny(name, patient), tmp_path)
    save_case(replace(tiny("phantom-1", "P"), source="phantom"), tmp_path)
    phantoms, slabs, held = split_cases(tmp_path, ["import-a1"])
    assert [p.stem for p in held] == ["import-a1", "import-a2"]
    assert [p.stem for p in slabs] == ["import-b"]
    assert [p.stem for p in phantoms] == ["phantom-1"]
    assert len(split_cases(tmp_path)[1]) == 3
    with pytest.raises(SourceMissing, match="held-out case c is not below"):
        split_cases(tmp_path, ["c"])
