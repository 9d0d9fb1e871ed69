"""`lumbar-node verify` on a real result: every validator accepts it, and each kind of damage is found."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.dataset import Dataset

from model.bundle.write import write_coded_bundle
from node.cli.app import run
from node.deliver.verified import find_or_write_verified
from node.journal.reviews import Decision
from node.verify.run import OWN
from node.verify.tools import REMEDIES
from tests.support.phantoms import Truth

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

KNOWN = {
    ("dciodvfy", "private coding schemes, ours and the viewer's"),
    ("dciodvfy", "UID of our private coding scheme"),
    ("dciodvfy", "Device UID of the algorithm, wanted by IHE AI Results"),
    ("dciodvfy", "follows from the Device UID"),
    ("dciodvfy", "requests are of an image's series, of a report's study"),
    ("dcmqi", "comments are listed as evaluations"),
    ("dcmqi", "the method of a single value is not kept"),
}
"""Everything that the validators say against a correct result."""


@pytest.fixture(scope="module")
def result(small_coded: Truth, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a phantom's result, pictures included."""
    out = tmp_path_factory.mktemp("verify")
    bundle = write_coded_bundle(out / "oracle")
    code = run(
        ["process", str(small_coded.folder), "--out", str(out / "results"), "--bundle", str(bundle)]
    )
    assert code == 0
    (folder,) = (out / "results").iterdir()
    return folder


def _verify(folder: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, dict[str, Any]]:
    capsys.readouterr()
    code = run(["verify", str(folder), "--json"])
    return code, json.loads(capsys.readouterr().out)


def _absent(report: dict[str, Any]) -> set[str]:
    return {t["tool"] for t in report["tools"] if t["remedy"]}


def test_every_installed_validator_accepts_a_confirmed_report(
    result: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = Decision("confirmed", "meier", 1_795_000_000.0, organization="Klinik")
    file = find_or_write_verified(result, made, tmp_path)
    code, report = _verify(file.path.parent, capsys)
    (folder,) = report["folders"]
    bad = [(a, f) for a in folder["answers"] for f in a["findings"] if f["severity"] != "known"]
    assert (bad, code) == ([], 0)
    ds = pydicom.dcmread(file.path)
    del ds.VerifyingObserverSequence
    ds.save_as(file.path)
    code, report = _verify(file.path.parent, capsys)
    own = [a for a in report["folders"][0]["answers"] if a["tool"] == OWN]
    assert code == 4
    assert any("one verifying observer" in f["text"] for a in own for f in a["findings"])


def test_every_installed_validator_accepts_a_result(
    result: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code, report = _verify(result, capsys)
    (folder,) = report["folders"]
    bad = [(a, f) for a in folder["answers"] for f in a["findings"] if f["severity"] != "known"]
    assert bad == []
    assert (code, report["total"]["error"], report["total"]["warning"]) == (0, 0, 0)
    assert folder["names"] == [
        "seg.dcm", "midplane.dcm", "measurements.dcm", "volumes.dcm", "summary.dcm", "report.dcm", "surface.dcm",
        "(together)",
    ]  # fmt: skip
    used = set(REMEDIES) - _absent(report)
    assert {"dcmqi", "highdicom", "dicomweb"} <= used
    answered = {(a["tool"], a["name"]) for a in folder["answers"]}
    for tool, names in {
        "dciodvfy": folder["names"],
        "DCMTK": folder["names"][:-1],
        "dcmqi": ["seg.dcm", "measurements.dcm", "volumes.dcm"],
        "highdicom": ["seg.dcm", "midplane.dcm", "measurements.dcm", "volumes.dcm", "summary.dcm"],
        "dicomweb": folder["names"][:-1],
        OWN: folder["names"],
    }.items():
        if tool in used | {OWN}:
            assert {n for t, n in answered if t == tool} == set(names), tool
    known = {(a["tool"], f["reason"]) for a in folder["answers"] for f in a["findings"]}
    assert known == {row for row in KNOWN if row[0] in used}


def test_the_screen_has_80_columns_and_names_absent_tools(
    result: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without any program of the system only what Python packages bring is used."""
    monkeypatch.setenv("PATH", "/nowhere")
    capsys.readouterr()
    assert run(["verify", str(result)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].split() == ["object", "dcmqi", "highdicom", "dicomweb", "own"]
    assert max(map(len, lines[1:10])) <= 80
    assert "dciodvfy: not installed (dciodvfy, dcentvfy): apt install dicom3tools" in lines
    assert any(line.startswith("DCMTK: not installed (dcmdump, dsrdump") for line in lines)


def _change(name: str, change: Callable[[Dataset], None]) -> Callable[[Path], None]:
    """Return what changes an object and gives it its new digest, so that nothing but the change is wrong."""

    def apply(folder: Path) -> None:
        ds = pydicom.dcmread(folder / name)
        change(ds)
        ds.save_as(folder / name)
        _renew_digest(folder, name)

    return apply


def _renew_digest(folder: Path, name: str) -> None:
    path = folder / "result.json"
    result = json.loads(path.read_text())
    for entry in (*result["objects"], *result["files"]):
        if entry["file"] == name:
            entry["sha256"] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    path.write_text(json.dumps(result))


def _wrong_reference(ds: Dataset) -> None:
    frame = ds.PerFrameFunctionalGroupsSequence[0]
    frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID = "1.2.3"


def _other_patient(ds: Dataset) -> None:
    ds.PatientID = "OTHER"


def _hole(ds: Dataset) -> None:
    stl = ds.EncapsulatedDocument[: ds.EncapsulatedDocumentLength]
    count = int.from_bytes(stl[80:84], "little") - 1
    stl = stl[:80] + count.to_bytes(4, "little") + stl[84:-50]
    ds.EncapsulatedDocument, ds.EncapsulatedDocumentLength = stl + b"\0" * (len(stl) % 2), len(stl)


def _truncate(folder: Path) -> None:
    path = folder / "measurements.dcm"
    path.write_bytes(path.read_bytes()[:5000])


def _altered_value(ds: Dataset) -> None:
    (container,) = (
        i for i in ds.ContentSequence if i.ConceptNameCodeSequence[0].CodeValue == "126010"
    )
    group = container.ContentSequence[0]
    (number, *_) = (i for i in group.ContentSequence if i.ValueType == "NUM")
    number.MeasuredValueSequence[0].NumericValue = 1.5
    number.MeasuredValueSequence[0].FloatingPointValue = 1.5


DAMAGE: dict[str, tuple[Callable[[Path], None], set[tuple[str, str, str]]]] = {
    "a wrong reference": (
        _change("seg.dcm", _wrong_reference),
        {(OWN, "seg.dcm", "1 references to objects outside the folder and the source series")},
    ),
    "another patient": (
        _change("report.dcm", _other_patient),
        {(OWN, "report.dcm", "PatientID differs from that of the other objects")},
    ),
    "an altered value": (
        _change("measurements.dcm", _altered_value),
        {
            (OWN, "measurements.dcm", "OC: the stored value is not the distance of its end points"),
            (OWN, "measurements.dcm", "OC: its value is not that of result.json"),
        },
    ),
    "a surface with a hole": (
        _change("surface.dcm", _hole),
        {(OWN, "surface.dcm", "a surface that is not closed: 3 edges belong to one triangle only")},
    ),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_what_is_damaged_is_found_by_its_name(
    result: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    damage: str,
) -> None:
    """By our own checks, and nothing else: no validator knows what belongs to a result."""
    monkeypatch.setattr("node.verify.run.TOOLS", ())
    shutil.copytree(result, tmp_path / "result")
    change, expected = DAMAGE[damage]
    change(tmp_path / "result")
    code, report = _verify(tmp_path / "result", capsys)
    found = {
        (a["tool"], a["name"], f["text"])
        for a in report["folders"][0]["answers"]
        for f in a["findings"]
        if f["severity"] == "error" and a["tool"] == OWN
    }
    assert (code, found) == (4, expected)


def test_a_truncated_object_is_found_by_every_tool_but_one(
    result: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """pydicom, which dicomweb-client reads with, takes the end of a file for the end of a sequence."""
    shutil.copytree(result, tmp_path / "result")
    _truncate(tmp_path / "result")
    code, report = _verify(tmp_path / "result", capsys)
    tools = {
        a["tool"]
        for a in report["folders"][0]["answers"]
        for f in a["findings"]
        if f["severity"] == "error" and a["name"] == "measurements.dcm"
    }
    assert code == 4
    assert tools == {"dciodvfy", "DCMTK", "dcmqi", "highdicom", OWN} - _absent(report)


def test_a_folder_without_objects_is_nothing_to_check(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "note.txt").write_text("no DICOM")
    assert run(["verify", str(tmp_path)]) == 3
    said = capsys.readouterr().err
    assert "note.txt: not a DICOM file" in said
    assert "no results or DICOM files under" in said
    assert run(["verify", str(tmp_path / "absent")]) == 2
