"""Where the programs are: beside the interpreter or on the path, with the data that they need."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from node.verify import tools
from node.verify.tools import REMEDIES, TOOLS, Tool, located

SR, SEG, MR = (f"1.2.840.10008.5.1.4.1.1.{n}" for n in ("88.34", "66.4", "4"))
PDF, STL = (f"1.2.840.10008.5.1.4.1.1.104.{n}" for n in (1, 3))


def _tool(program: str) -> Tool:
    (tool,) = (t for t in TOOLS if t.program == program)
    return tool


def _program(path: Path) -> str:
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return str(path)


def test_every_column_can_be_installed() -> None:
    assert list(dict.fromkeys(t.name for t in TOOLS)) == list(REMEDIES)


def test_the_first_of_two_names_is_preferred(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert located(_tool("dcm2img|dcmj2pnm")) is None
    old = _program(tmp_path / "dcmj2pnm")
    assert located(_tool("dcm2img|dcmj2pnm")) == old
    new = _program(tmp_path / "dcm2img")
    assert located(_tool("dcm2img|dcmj2pnm")) == new


def test_packages_and_programs_of_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    assert located(_tool("package:highdicom")) == sys.executable
    assert (
        located(Tool("x", "package:no-such-package", bool, lambda *_: [], lambda _: iter(())))
        is None
    )
    assert located(_tool("tid1500reader")) == str(Path(sys.executable).parent / "tid1500reader")


def test_dicom_validator_is_used_with_its_tables_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would fetch them: without tables on this machine it is not started."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("PATH", str(tmp_path))
    program = _program(tmp_path / "validate_iods")
    tool = _tool("validate_iods")
    assert located(tool) is None
    for edition in ("2024e", "2026c"):
        (tmp_path / "dicom-validator" / edition / "json").mkdir(parents=True)
    assert located(tool) is None
    (tmp_path / "dicom-validator" / "editions.json").write_text("[]")
    assert located(tool) == program
    command = tool.command(program, Path("/o.dcm"), Path("/s"))
    assert [str(word) for word in command] == [
        program, "--standard-path", str(tmp_path / "dicom-validator"), "--edition", "2026c", "/o.dcm",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("sop_class", "programs"),
    [
        (SR, {"dsrdump", "tid1500reader", "package:highdicom"}),
        (SEG, {"segimage2itkimage", "package:highdicom"}),
        (MR, {"dcm2img|dcmj2pnm", "package:highdicom"}),
        (PDF, {"dcm2pdf"}),
        (STL, set()),
        ("1.2.3", set()),
    ],
)
def test_what_each_class_is_given_to(sop_class: str, programs: set[str]) -> None:
    every = {"dciodvfy", "dcmdump", "package:dicomweb-client", "validate_iods"}
    assert {t.program for t in tools.TOOLS if t.applies(sop_class)} == programs | every
