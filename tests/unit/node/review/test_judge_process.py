"""What the reading process answers, asked in this process: values again, hostile files, files that are gone."""

from __future__ import annotations

import errno
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from dicomseg.structures import BY_ID
from dicomseg.volume import Volume
from node.review import judge_process
from node.review.judge_process import answer
from tests.support.corrections import OHIF, only, segmented_series, shifted, store

pytestmark = pytest.mark.slow  # none of them alone, all of them together


@dataclass(frozen=True)
class Result:
    """A series with a result folder of ours, and a correction of it."""

    images: list[Path]
    folder: Path
    corrected: Path
    ours: Volume

    def ask(self, seg: Path, **changes: Any) -> Any:
        given = {"seg": str(seg), "images": [str(p) for p in self.images], "result": str(self.folder), "own": [], "earlier": []}  # fmt: skip
        return answer(["judge", given | changes])


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Result:
    root = tmp_path_factory.mktemp("result")
    made = segmented_series(root)
    images, ours = made.images, made.ours
    store(root / "result" / "seg.dcm", images, ours)
    automatic = {
        "level": {"normal": [0.0, 0.0, 1.0]},
        "measurements": {"OC": {"value_mm": 9.75, "refusal": None}, "PI": {"value_mm": None, "refusal": {"code": "missing"}}},
    }  # fmt: skip
    (root / "result" / "result.json").write_text(json.dumps(automatic))
    moved = shifted(ours, BY_ID["ivc"].value, 1, 1)
    return Result(images, root / "result", store(root / "corrected.dcm", images, moved, OHIF), ours)


def test_values_come_again_beside_those_of_the_result(result: Result) -> None:
    heard = result.ask(result.corrected)
    values = heard["accepted"]["values"]
    assert set(values) == {"OC", "DAA", "DIVC", "PI"}
    assert (values["OC"]["before_mm"], values["PI"]["before_refusal"]) == (9.75, "missing")
    for value in values.values():
        assert (value["after_mm"] is None) == (value["after_refusal"] is not None)
    structures = heard["accepted"]["structures"]
    assert structures["ivd"]["dice"] == 1.0
    assert 0.5 < structures["ivc"]["dice"] < 1.0
    assert heard["creator"] == "Reader^Rita"
    json.dumps(heard)


def test_our_own_object_is_no_correction(result: Result) -> None:
    own = result.folder / "seg.dcm"
    refused = result.ask(own)["refused"]
    assert (refused["code"], refused["is_correction"]) == ("unchanged-copy", False)


def test_references_are_those_of_the_object(result: Result) -> None:
    named = answer(["references", str(result.corrected)])["references"]  # type: ignore[index]
    assert named["series"] == (str(dcmread(result.images[0]).SeriesInstanceUID),)


@pytest.mark.parametrize("kept", [0, 100, 2000, 0.5])
def test_a_file_that_is_cut_is_refused_in_words(
    result: Result, tmp_path: Path, kept: float
) -> None:
    data = result.corrected.read_bytes()
    cut = tmp_path / "cut.dcm"
    cut.write_bytes(data[: int(kept * len(data)) if isinstance(kept, float) else kept])
    refused = result.ask(cut)["refused"]
    assert refused["code"] in {"damaged-frames", "truncated-voxels"}
    assert refused["text"].endswith(("again",))


def test_an_enormous_file_is_refused_before_it_is_read(
    result: Result, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(judge_process, "MOST_FILE_BYTES", 1000)
    refused = answer(["references", str(result.corrected)])["refused"]  # type: ignore[index]
    assert refused["code"] == "too-large"


def test_a_file_that_is_gone_is_a_fault_of_the_machine(result: Result, tmp_path: Path) -> None:
    assert answer(["references", str(tmp_path / "gone")]) == {"errno": errno.ENOENT}
    assert result.ask(tmp_path / "gone") == {"errno": errno.ENOENT}


def test_images_without_a_volume_are_named(result: Result) -> None:
    few = [str(p) for p in result.images[::3]]
    heard = result.ask(result.corrected, images=few[:5])
    assert heard["refused"]["code"] in {"no-volume", "other-grid"}


def test_what_is_drawn_alone_is_measured_with_the_rest_of_the_result(
    result: Result, tmp_path: Path
) -> None:
    moved = shifted(result.ours, BY_ID["aa"].value, 1, 1)
    alone = store(tmp_path / "aa.dcm", result.images, moved, left_out=only("aa"))
    heard = result.ask(alone, earlier=[str(tmp_path / "gone"), str(result.corrected)])
    assert heard["kept"] == [1]
    accepted = heard["accepted"]
    assert (len(accepted["drawn"]), accepted["unchanged"]) == (8, [])
    assert accepted["structures"]["ivc"]["dice"] < 1.0
    heard = result.ask(alone)
    assert (heard["kept"], heard["accepted"]["drawn"]) == ([], ["aa"])
    assert heard["accepted"]["structures"]["ivc"]["dice"] == 1.0
