"""Links that open a result in a viewer."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from node.observe.links import viewer_link

TEMPLATE = "http://viewer:3000/viewer?StudyInstanceUIDs={study}&result={result}"


def _folder(path: Path, objects: Any) -> Path:
    (path / "result.json").write_text(json.dumps({"objects": objects}), encoding="utf-8")
    return path


def test_a_link_names_the_study_and_an_object_of_the_result(tmp_path: Path) -> None:
    folder = _folder(tmp_path, [{"file": "seg.dcm", "sop_instance": "2.25.4"}])
    link = viewer_link(TEMPLATE, "1.2.3", folder)
    assert link == "http://viewer:3000/viewer?StudyInstanceUIDs=1.2.3&result=2.25.4"
    assert viewer_link("http://v/{study}", "1.2.3", folder) == "http://v/1.2.3"


@pytest.mark.parametrize("objects", [None, [], {}, ["seg.dcm"], [{"file": "seg.dcm"}]])
def test_a_result_without_objects_opens_the_study(tmp_path: Path, objects: Any) -> None:
    link = viewer_link(TEMPLATE, "1.2.3", _folder(tmp_path, objects))
    assert link == "http://viewer:3000/viewer?StudyInstanceUIDs=1.2.3&result="


def test_no_viewer_or_no_study_is_no_link(tmp_path: Path) -> None:
    assert viewer_link("", "1.2.3", tmp_path) is None
    assert viewer_link(TEMPLATE, "", tmp_path) is None


def test_a_uid_of_a_header_cannot_change_the_address(tmp_path: Path) -> None:
    folder = _folder(tmp_path, [{"sop_instance": "1&hangingProtocolId=mpr"}])
    link = viewer_link(TEMPLATE, "1.2/../x?y=\n#{result}", folder)
    assert link == (
        "http://viewer:3000/viewer?StudyInstanceUIDs=1.2%2F..%2Fx%3Fy%3D%0A%23%7Bresult%7D"
        "&result=1%26hangingProtocolId%3Dmpr"
    )
