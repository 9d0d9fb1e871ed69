"""One answer per tool and object, whatever the programs do."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.verify import child, judges, run
from node.verify.classes import every
from node.verify.folders import find_folders
from node.verify.objects import ResultSet
from node.verify.report import TOGETHER, Report
from node.verify.run import OWN
from node.verify.tools import Tool
from tests.support.result_sets import copied

pytestmark = [pytest.mark.process, pytest.mark.slow]


def _verify(folder: Path) -> Report:
    return run.verify(find_folders(folder), lambda _: None)


def _script(path: Path, text: str) -> str:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return str(path)


@pytest.fixture
def tool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only tool: a script that a test writes."""
    path = tmp_path / "tool"
    only = Tool("DCMTK", str(path), every, lambda p, o, s: [p, o, s], judges.dcmtk)
    monkeypatch.setattr(run, "TOOLS", (only,))
    monkeypatch.setattr(
        run, "BETWEEN", Tool("dciodvfy", "/no", every, lambda *_: [], judges.dciodvfy)
    )
    return path


def test_every_object_is_given_to_the_tool_in_a_folder_of_its_own(
    results: ResultSet, tmp_path: Path, tool: Path
) -> None:
    _script(
        tool, f'[ $# = 1 ] || pwd >> {tmp_path}/places; echo "W: $2" | sed s,$2,scratch,; touch x'
    )
    report = _verify(results.folder)
    (folder,) = report.folders
    assert folder.names == (*results.objects, TOGETHER)
    for name in results.objects:
        answer = folder.answer("DCMTK", name)
        assert answer is not None
        assert [f.text for f in answer.findings] == ["scratch"]
        assert folder.answer(OWN, name) is not None
    assert folder.answer("DCMTK", TOGETHER) is None
    assert (report.count("error"), report.count("warning")) == (0, 4)
    places = (tmp_path / "places").read_text().split()
    assert len(set(places)) == 4
    assert not any(Path(place).exists() for place in places)


@pytest.mark.parametrize(
    ("script", "text"),
    [
        ("kill -SEGV $$", "tool: ended by SIGSEGV"),
        ("sleep 30", "tool: no answer within 1 s"),
        ("echo E: bad; exit 1", "bad"),
        ("exit 7", "exit status 7: no message"),
    ],
)
def test_a_tool_that_ends_badly_is_an_error_of_the_object(
    results: ResultSet, tool: Path, monkeypatch: pytest.MonkeyPatch, script: str, text: str
) -> None:
    _script(tool, script)
    if "sleep" in script:
        monkeypatch.setattr(run, "_own_checks", lambda _: ([], {}))
        monkeypatch.setattr(child, "MOST_S", 1.0)
    answer = _verify(results.folder).folders[0].answer("DCMTK", "seg.dcm")
    assert answer is not None
    assert [(f.severity, f.text) for f in answer.findings] == [("error", text)]


def test_an_absent_tool_is_named_and_no_error(results: ResultSet, tool: Path) -> None:
    report = _verify(results.folder)
    assert report.count("error") == 0
    assert [(t.tool, t.remedy) for t in report.tools] == [
        ("DCMTK", "apt install dcmtk"), ("dciodvfy", "apt install dicom3tools"),
    ]  # fmt: skip


def test_checks_that_do_not_end_by_themselves_are_an_error(
    results: ResultSet, tool: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run, "own_module", lambda *_: ["/bin/sh", "-c", "kill -KILL $$"])
    answer = _verify(results.folder).folders[0].answer(OWN, TOGETHER)
    assert answer is not None
    assert [f.text for f in answer.findings] == ["the checks ended: ended by SIGKILL"]


def test_a_result_json_of_another_form_is_found_and_not_fatal(
    results: ResultSet, tmp_path: Path, tool: Path
) -> None:
    folder = copied(results, tmp_path / "r").folder
    (folder / "result.json").write_text('{"objects": 3, "source": null}')
    answer = _verify(folder).folders[0].answer(OWN, TOGETHER)
    assert answer is not None
    assert answer.count("error") > 5
    assert all("cannot check whether" in f.text for f in answer.findings)
    (folder / "result.json").write_text("[" * 100_000)
    answer = _verify(folder).folders[0].answer(OWN, TOGETHER)
    assert answer is not None
    assert [f.text for f in answer.findings] == ["result.json cannot be read"]
