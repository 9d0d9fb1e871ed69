"""A folder that a node kept becomes a case: what readers drew, what they did not, and of which model it was."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dicomseg.structures import BY_ID, STRUCTURES, StructureId
from dicomseg.volume import Volume
from tests.support.corrections import Desk, only, shifted, store
from tests.support.exported_study import imported
from tests.support.viewers import ohif_with_a_uid_for_the_algorithm
from training.data.cases import Case, is_corrected, list_cases_in, load_case
from training.importing.manifest import read_manifest

pytestmark = pytest.mark.slow  # none of them alone, all of them together

MODEL = {"name": "lumbar-l45", "version": "1.2", "digest": "ab" * 32, "path": "/home/doe"}


def _kept(desk: Desk, drawn: Sequence[tuple[Volume, Sequence[StructureId]]], **record: Any) -> Path:
    """A folder as the node publishes it. drawn: labels of each object, with the structures that it holds."""
    folder = desk.folder / "accepted" / "3f0c"
    folder.mkdir(parents=True)
    for n, image in enumerate(desk.images):
        (folder / f"{n:05d}.dcm").hardlink_to(image)
    store(folder / "result.dcm", desk.images, desk.ours)
    names = []
    for n, (labels, structures) in enumerate(drawn):
        names.append(f"segmentation-{9 - n}.dcm")  # not in the order of their names
        left_out = only(*structures)
        store(folder / names[-1], desk.images, labels, left_out=left_out, change=ohif_with_a_uid_for_the_algorithm)  # fmt: skip
    content = {"segmentations": names, "model": MODEL, "content_creator": "Reader^Rita"} | record
    (folder / "correction.json").write_text(json.dumps(content))
    return folder.parent


def _case(desk: Desk, folder: Path) -> Case:
    done, _ = imported(folder, desk.folder / "cases")
    assert not done.refused
    (path,) = list_cases_in(desk.folder / "cases")
    assert is_corrected(path)
    return load_case(path)


def _centre(case: Case, structure: StructureId) -> np.ndarray[Any, Any]:
    at = np.argwhere(case.labels == BY_ID[structure].value).mean(axis=0)
    centre: np.ndarray[Any, Any] = case.affine[:3, :3] @ at + case.affine[:3, 3]
    return centre


def _drawn_centre(labels: Volume, structure: StructureId) -> np.ndarray[Any, Any]:
    return labels.to_patient(labels.where(BY_ID[structure].value).mean(axis=0))


def test_the_last_object_of_a_structure_makes_its_label(desk: Desk) -> None:
    every = [s.id for s in STRUCTURES]
    first, second = (shifted(desk.ours, BY_ID["aa"].value, 1, by) for by in (4, 2))
    case = _case(desk, _kept(desk, [(first, every), (second, ["aa"])]))
    assert case.labelled == tuple(every)
    assert _centre(case, "aa") == pytest.approx(_drawn_centre(second, "aa"), abs=0.5)
    assert case.card["correction"] == {
        "drawn": every, "changed": ["aa"], "unchanged": [],
        "model": {k: MODEL[k] for k in ("name", "version", "digest")},
    }  # fmt: skip
    assert case.card["labels_by"] == "corrected"
    text = next((desk.folder / "cases").glob("import-*.json")).read_text()
    assert "Rita" not in text
    assert "doe" not in text


def test_what_no_reader_drew_places_the_case_and_is_no_label(desk: Desk) -> None:
    moved = shifted(desk.ours, BY_ID["aa"].value, 1, 2)
    case = _case(desk, _kept(desk, [(moved, ["aa"])]))
    assert case.labelled == ("aa",)
    assert set(np.unique(case.labels)) == {0, BY_ID["aa"].value}
    assert case.level_centre_lps == pytest.approx(_drawn_centre(desk.ours, "ivd"), abs=0.5)
    assert case.level_normal[2] > 0.9
    assert case.card["correction"]["unchanged"] == sorted(only("aa"))
    (entry,) = read_manifest(desk.folder / "cases").entries
    assert (entry.labels_by, entry.labelled) == ("corrected", ("aa",))


@pytest.mark.parametrize(
    "record",
    [{"segmentations": []}, {"segmentations": ["../seg.dcm"]}, {"segmentations": ["gone.dcm"]}, {"segmentations": 3}],
)  # fmt: skip
def test_a_record_that_names_nothing_of_its_folder_is_refused(desk: Desk, record: Any) -> None:
    folder = _kept(desk, [(desk.corrected(), ["aa"])], **record)
    done, _ = imported(folder, desk.folder / "cases")
    (refused,) = done.refused
    assert refused.startswith("3f0c: ")
    assert "rule readable" in refused


def test_a_uid_in_the_place_of_the_algorithm_reaches_no_card(desk: Desk) -> None:
    folder = _kept(desk, [(desk.corrected(), [s.id for s in STRUCTURES])])
    for name in ("correction.json", "result.dcm"):
        (folder / "3f0c" / name).unlink()
    done, _ = imported(folder, desk.folder / "cases")
    assert not done.refused
    (path,) = list_cases_in(desk.folder / "cases")
    assert load_case(path).card["labels_by"] == "unknown"
    assert not is_corrected(path)
