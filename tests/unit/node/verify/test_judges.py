"""What each tool's output says of an object: recorded lines of the real programs."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from node.verify import judges
from node.verify.child import Ended
from node.verify.judges import Run
from node.verify.reading import Reading
from node.verify.report import Finding


def _run(status: int = 0, output: str = "", errors: str = "", facts: Reading | None = None) -> Run:
    return Run(Path(), Ended(status, output, errors), facts or Reading())


def test_dciodvfy_has_errors_warnings_and_a_truncated_file() -> None:
    text = (
        "Comprehensive3DSR\n"
        "Error - Missing attribute Type 2 Required Element=<PatientSex> Module=<Patient>\n"
        "Warning - Tag read failed\n"
        "Warning - Unrecognized defined term <99X> for value 1 of attribute <Coding Scheme Designator>\n"
    )
    found = list(judges.dciodvfy(_run(1, errors=text)))
    assert [f.severity for f in found] == ["error", "error", "warning"]
    assert found[0].text.startswith("Missing attribute Type 2")


@pytest.mark.parametrize(
    ("status", "errors", "severities"),
    [
        (0, "", []),
        (0, "W: DcmItem: Non-standard VR\n", ["warning"]),
        (1, "F: dsrdump: error (I/O suspension) reading file: x\n", ["error"]),
        (1, "E: dcmdump: premature end\nW: more\n", ["error", "warning"]),
        (2, "", ["error"]),
    ],
)
def test_dcmtk(status: int, errors: str, severities: list[str]) -> None:
    found = list(judges.dcmtk(_run(status, errors=errors)))
    assert [f.severity for f in found] == severities


FACTS = Reading(2, {"a:OC": 12.5}, {"1": 10})


@pytest.mark.parametrize(
    ("answer", "texts"),
    [
        (FACTS, []),
        (Reading(2, {"a:OC": 12.5004}, {"1": 10}), []),
        (Reading(1, {"a:OC": 12.5}, {"1": 10}), ["reads 1 measurement groups of 2"]),
        (
            Reading(2, {"a:OC": 12.6}, {"1": 10}),
            ["reads 12.6 for the value of a:OC, which is 12.5"],
        ),
        (Reading(2, {}, {"1": 10}), ["reads None for the value of a:OC, which is 12.5"]),
        (
            Reading(2, {"a:OC": 12.5, "x": 1.0}, {"1": 9}),
            [
                "reads 1.0 for the value of x, which is None",
                "reads 9 for the voxels of segment 1, which is 10",
            ],
        ),
    ],
)
def test_highdicom_reads_what_we_read(answer: Reading, texts: list[str]) -> None:
    run = _run(output=json.dumps(answer.to_json()), facts=FACTS)
    judge = judges.reader(judges.highdicom_reading)
    assert list(judge(run)) == [Finding("error", text) for text in texts]


@pytest.mark.parametrize("output", ["", "[]", "{}", '{"groups": "x"}', "null", "[" * 100000])
def test_an_answer_of_another_form(output: str) -> None:
    (found,) = judges.reader(judges.highdicom_reading)(_run(output=output))
    assert found.text.startswith("its answer cannot be read")


def test_a_reader_that_fails_is_quoted_by_its_last_line() -> None:
    errors = "Traceback (most recent call last):\n  File x\nAttributeError: no attribute 'x'\n"
    (found,) = judges.reader(judges.highdicom_reading)(_run(1, errors=errors))
    assert found == Finding("error", "exit status 1: AttributeError: no attribute 'x'")


def test_dcmqi_reads_a_report(tmp_path: Path) -> None:
    groups = [
        {"TrackingIdentifier": "a:OC", "measurementItems": [{"value": "12.5"}, {"value": "1"}]},
        {"TrackingIdentifier": "b", "measurementItems": []},
    ]
    (tmp_path / "report.json").write_text(json.dumps({"Measurements": groups}))
    said = 'Found concept that is not known, and as such is qualitative: (121106,DCM,"Comment")\n'
    run = Run(tmp_path, Ended(0, said, ""), Reading(2, {"a:OC": 12.5}))
    assert list(judges.dcmqi(judges.dcmqi_report)(run)) == [Finding("warning", said.strip())]


def test_dcmqi_reads_segments(tmp_path: Path) -> None:
    voxels = np.zeros(24, "<i2")
    voxels[:7] = 1
    head = b"NRRD0004\ntype: short\nsizes: 4 3 2\nencoding: gzip\n\n"
    (tmp_path / "3.nrrd").write_bytes(head + gzip.compress(voxels.tobytes()))
    (tmp_path / "4.nrrd").write_bytes(head + gzip.compress(bytes(48)))
    judge = judges.dcmqi(judges.dcmqi_segments)
    assert list(judge(Run(tmp_path, Ended(0, "", ""), Reading(voxels={"3": 7})))) == []
    (tmp_path / "5.nrrd").write_bytes(b"NRRD0004\ntype: float\n\n")
    (found,) = judge(Run(tmp_path, Ended(0, "", ""), Reading(voxels={"3": 7})))
    assert "cannot be read" in found.text


def test_dcmqi_reads_a_label_map(tmp_path: Path) -> None:
    labels = gzip.compress(bytes([0, 0, 2, 2, 2, 5]))
    head = b"NRRD0004\ntype: unsigned char\nsizes: 3 2 1\nencoding: gzip\n\n"
    (tmp_path / "1.nrrd").write_bytes(head + labels)
    run = Run(tmp_path, Ended(0, "", ""), Reading(voxels={"2": 3, "5": 1}))
    assert list(judges.dcmqi(judges.dcmqi_segments)(run)) == []


def test_dicom_validator_counts_tags() -> None:
    text = "Errors\n======\nModule 'Patient':\nTag (0010,0010) (Patient's Name) is missing\n"
    assert [f.text for f in judges.validator(_run(1, text))] == [
        "Tag (0010,0010) (Patient's Name) is missing"
    ]
    assert [f.text for f in judges.validator(_run(1, "no edition"))] == [
        "exit status 1: no edition"
    ]
