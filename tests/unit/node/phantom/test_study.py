"""The synthetic study on disk."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from node.errors import PhantomNotMade
from node.phantom import study


def ended(code: int, errors: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.CompletedProcess([], code, "", errors)


def test_a_study_that_is_there_is_not_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "phantom-000012"
    (folder / "t2_space").mkdir(parents=True)
    (folder / "truth.json").write_text(json.dumps({"generator": "5"}))
    (folder / "t2_space" / "a.dcm").write_bytes(b"a")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("was made again"))
    phantom = study.make_phantom(tmp_path)
    assert (phantom.generator, [f.name for f in phantom.files]) == ("5", ["a.dcm"])
    before = phantom.digest()
    (folder / "t2_space" / "a.dcm").write_bytes(b"b")
    assert phantom.digest() != before


def test_a_generator_that_fails_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: ended(1, "Traceback\n\nDiskFull: x\n"))
    with pytest.raises(PhantomNotMade, match="the generator failed: DiskFull: x"):
        study.make_phantom(tmp_path)


def test_a_damaged_truth_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "truth.json").write_text("{")
    with pytest.raises(PhantomNotMade, match="remove the folder"):
        study.read_phantom(tmp_path)
