"""Lines of the curve, also after one that was cut short."""

from __future__ import annotations

import json
import math
from pathlib import Path

from training.fit import curve


def test_lines_are_added_and_a_cut_one_swallows_none(tmp_path: Path) -> None:
    file = tmp_path / curve.CURVE
    curve.append(file, {"step": 1, "loss": 0.123456789, "dice": {"l4": math.nan}})
    with file.open("a") as out:
        out.write('{"step": 2, "lo')
    curve.append(file, {"step": 3, "loss": math.inf})
    lines = file.read_text().splitlines()
    assert json.loads(lines[0]) == {"step": 1, "loss": 0.123457, "dice": {"l4": None}}
    assert lines[1] == '{"step": 2, "lo'
    assert json.loads(lines[2]) == {"step": 3, "loss": None}
