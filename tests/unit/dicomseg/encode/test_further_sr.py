"""What `result.json` says is in `volumes.dcm` too, for an archive that keeps nothing else."""

from __future__ import annotations

import json
import subprocess
import tomllib
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import highdicom as hd
import pytest
from pydicom.dataset import Dataset

from dicomseg.encode.further_codes import CODES
from dicomseg.encode.measurements_sr import code_of_name
from dicomseg.read.charset import ascii_text
from dicomseg.result import Measurement, Refusal
from dicomseg.segmentation import Finding
from tests.support.encoded import errors_of, read

pytestmark = pytest.mark.process  # dciodvfy judges what is written

ROOT = Path(__file__).resolve().parents[4]
FINDINGS = (
    Finding("vessel_side_uncertain", "left and right may be exchanged", "warning"),
    Finding("cut_by_image", "L5 vertebral body ± is truncated", "warning", "l5"),
)


@pytest.fixture(scope="module")
def files(studio: Any) -> dict[str, bytes]:
    """A result with two warnings, a doubtful level, a refused and an unknown further value."""
    level = replace(studio.found.level, confidence=0.5662, warnings=("transitional vertebra",))
    extra = dict(studio.measured.extra)
    extra["OC_any"] = Measurement("OC_any", "", refusal=Refusal("cut_by_image", "psoas is cut"))
    extra["DAA_min"] = replace(extra["DAA_min"], uncertainty_mm=None, range_mm=(7.0, 9.5))
    extra["of_tomorrow"] = replace(extra["disc_height_middle"], name="of_tomorrow")
    found = replace(studio.found, level=level, findings=FINDINGS)
    run = replace(studio, found=found, measured=replace(studio.measured, extra=extra))
    encoded: dict[str, bytes] = run.encode(run.slices())
    return encoded


def groups_of(report: Dataset) -> dict[str, dict[str, list[Dataset]]]:
    """Tracking identifier to what its group says, by concept."""
    out = {}
    for container in report.ContentSequence:
        for group in container.get("ContentSequence", []):
            held: dict[str, list[Dataset]] = {}
            for item in group.get("ContentSequence", []):
                held.setdefault(item.ConceptNameCodeSequence[0].CodeMeaning, []).append(item)
            if "Tracking Identifier" in held:
                out[held["Tracking Identifier"][0].TextValue] = held
    return out


def number_of(item: Dataset) -> float:
    return float(item.MeasuredValueSequence[0].NumericValue)


def texts_of(held: dict[str, list[Dataset]]) -> list[str]:
    return [item.TextValue for item in held["Comment"]]


def test_every_further_value_is_given_or_refused(files: dict[str, bytes]) -> None:
    groups = groups_of(read(files)["volumes.dcm"])
    extra = json.loads(files["result.json"])["extra"]
    assert {"OC_right", "disc_height_middle", "dural_sac_ap", "of_tomorrow"} <= set(extra)
    assert {"psoas_area_left", "segmental_angle", "vessel_cover", "artery_disc"} <= set(extra)
    for name, value in extra.items():
        held = groups[f"lumbar-node:{name}"]
        numbers = [i for items in held.values() for i in items if i.ValueType == "NUM"]
        if value["value"] is None:
            assert numbers == []
            code = held["Reason measurement not reported"][0].ConceptCodeSequence[0]
            assert code.CodeValue == value["refusal"]["code"].replace("_", "").upper()[:16]
            assert texts_of(held)[-1] == value["refusal"]["text"]
            continue
        assert number_of(numbers[0]) == value["value"]
        units = [i.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0] for i in numbers]
        unit = "1" if value["unit"] == "ratio" else value["unit"]
        assert {(u.CodeValue, u.CodingSchemeDesignator) for u in units} == {(unit, "UCUM")}
        if value["uncertainty"] is not None:
            (one,) = held["Standard uncertainty (k = 1)"]
            assert number_of(one) == value["uncertainty"]
        if value["range"] is not None:
            ends = ("Minimum value near the plane", "Maximum value near the plane")
            assert [number_of(held[end][0]) for end in ends] == value["range"]
        if value["category"] is not None:
            (zone,) = held["Zone of the psoas back edge (Moro)"]
            assert zone.ConceptCodeSequence[0].CodeValue == f"ZONE{value['category']}"
        sides = {
            i.ContentSequence[0].ConceptCodeSequence[0].CodeMeaning.lower()
            for i in held["Finding Site"]
            if "ContentSequence" in i
        }
        assert sides == ({value["side"]} if value["side"] else set())
        if value["note"]:
            assert ascii_text(value["note"]) in texts_of(held)
    ends = [number_of(i) for i in groups["lumbar-node:DAA_min"]["Minimum value near the plane"]]
    assert ends == [7.0]


def test_the_level_says_how_sure_it_is(files: dict[str, bytes]) -> None:
    held = groups_of(read(files)["volumes.dcm"])["lumbar-node:level"]
    level = json.loads(files["result.json"])["level"]
    (confidence,) = held["Confidence of the level, 0 to 1"]
    assert number_of(confidence) == pytest.approx(level["confidence"], abs=5e-4)
    assert held["Finding"][0].ConceptCodeSequence[0].CodeValue == "243923001"
    assert texts_of(held) == [f"{level['name']}: {level['rule']}", "transitional vertebra"]


def test_every_warning_is_a_code_and_a_sentence(files: dict[str, bytes]) -> None:
    held = groups_of(read(files)["volumes.dcm"])["lumbar-node:warnings"]
    warnings = json.loads(files["result.json"])["warnings"]
    assert {f.code for f in FINDINGS} <= {w["code"] for w in warnings}
    codes = [i.ConceptCodeSequence[0].CodeMeaning for i in held["Warning about the result"]]
    assert codes == [w["code"].replace("_", " ") for w in warnings]
    assert texts_of(held) == [ascii_text(f"{w['code']}: {w['text']}") for w in warnings]


def test_a_result_without_warnings_has_no_such_group(studio: Any) -> None:
    files = studio.encode(studio.slices())
    assert json.loads(files["result.json"])["warnings"] == []
    groups = groups_of(read(files)["volumes.dcm"])
    assert "lumbar-node:warnings" not in groups
    assert "lumbar-node:level" in groups


@pytest.mark.parametrize(
    ("value", "code", "meaning"),
    [
        (0.0, "GRADE0", "Grade 0: none"),
        (0.3, "GRADE1", "Grade 1: up to 10 mm"),
        (10.0, "GRADE1", "Grade 1: up to 10 mm"),
        (10.1, "GRADE2", "Grade 2: 10 to 20 mm"),
        (23.0, "GRADE3", "Grade 3: above 20 mm"),
    ],
)
def test_the_corridor_has_a_grade(studio: Any, value: float, code: str, meaning: str) -> None:
    corridor = replace(studio.measured.main["OC"], value_mm=value)
    measured = replace(studio.measured, main={**studio.measured.main, "OC": corridor})
    report = read(replace(studio, measured=measured).encode(studio.slices()))["measurements.dcm"]
    graded = {
        k: g for k, g in groups_of(report).items() if "Corridor grade (Ng 2020, Spine 45:E552)" in g
    }
    ((key, held),) = graded.items()
    assert key.endswith(":OC")
    (item,) = held["Corridor grade (Ng 2020, Spine 45:E552)"]
    (concept,) = item.ConceptCodeSequence
    assert (concept.CodeValue, concept.CodingSchemeDesignator) == (code, "99LUMBAR")
    assert concept.CodeMeaning == meaning


def test_a_refused_corridor_has_no_grade(studio: Any) -> None:
    report = read(studio.encode(studio.slices(), refused=["OC"]))["measurements.dcm"]
    assert not any("Corridor grade" in name for g in groups_of(report).values() for name in g)


def test_every_further_value_has_a_code_of_its_own(studio: Any) -> None:
    """One code per value; the two sides of the psoas share theirs, which the laterality tells apart."""
    found = studio.measured
    assert set(CODES) == set(found.extra) | set(found.further)
    assert len({c.meaning for c in CODES.values()}) == len({c.value for c in CODES.values()})
    for code in CODES.values():
        assert len(code.value) <= 16
        assert len(code.meaning) <= 64
    shared = [code.value for code in CODES.values()]
    assert {v for v in shared if shared.count(v) > 1} == {"PSOASAREA", "PSOASFRONT", "PSOASBACK"}


def test_official_codes_name_areas_angles_and_places(files: dict[str, bytes]) -> None:
    groups = groups_of(read(files)["volumes.dcm"])
    names = {"psoas_area_left": "42798000", "dural_sac_area": "42798000", "disc_angle": "1483009"}
    for name, code in names.items():
        held = groups[f"lumbar-node:{name}"]
        numbers = [i for items in held.values() for i in items if i.ValueType == "NUM"]
        assert numbers[0].ConceptNameCodeSequence[0].CodeValue == code
    sites = {
        name: [
            i.ConceptCodeSequence[0].CodeValue
            for i in groups[f"lumbar-node:{name}"]["Finding Site"]
        ]
        for name in ("psoas_front_right", "aortic_bifurcation_height", "vessel_cover")
    }
    assert sites == {
        "psoas_front_right": ["18060", "243923001"],
        "aortic_bifurcation_height": ["73166001", "243923001"],
        "vessel_cover": ["243923001"],
    }


def test_the_grade_is_in_the_report_that_holds_everything(files: dict[str, bytes]) -> None:
    held = groups_of(read(files)["volumes.dcm"])["lumbar-node:corridor_grade"]
    (grade,) = held["Corridor grade (Ng 2020, Spine 45:E552)"]
    assert grade.ConceptCodeSequence[0].CodeValue == "GRADE2"


def test_dcmqi_reads_every_group(files: dict[str, bytes], tmp_path: Path) -> None:
    reader = ROOT / ".venv" / "bin" / "tid1500reader"
    if not reader.exists():
        pytest.skip("tid1500reader of dcmqi is not installed")
    (tmp_path / "volumes.dcm").write_bytes(files["volumes.dcm"])
    out = tmp_path / "volumes.json"
    ran = subprocess.run(
        [reader, "--inputDICOM", tmp_path / "volumes.dcm", "--outputMetadata", out],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert ran.returncode == 0, ran.stderr
    read_back = json.loads(out.read_text("utf-8"))["Measurements"]
    identifiers = {m["TrackingIdentifier"] for m in read_back}
    assert identifiers == set(groups_of(read(files)["volumes.dcm"]))
    numbers = {
        m["TrackingIdentifier"]: {float(item["value"]) for item in m.get("measurementItems", [])}
        for m in read_back
    }
    for name, value in json.loads(files["result.json"])["extra"].items():
        if value["value"] is not None:
            assert value["value"] in numbers[f"lumbar-node:{name}"], name


def test_validators_and_highdicom_read_it(files: dict[str, bytes], tmp_path: Path) -> None:
    assert errors_of(files, tmp_path) == []
    content = hd.sr.srread(BytesIO(files["volumes.dcm"])).content
    assert content.get_image_measurement_groups()
    assert content.get_volumetric_roi_measurement_groups()


def test_stable_names_have_codes_of_their_own() -> None:
    tables = tomllib.loads((ROOT / "docs" / "reference" / "codes.toml").read_text("utf-8"))
    names = {name for table in tables.values() for name in table}
    assert len(names) > 30
    codes = {code_of_name(name).value for name in names}
    assert len(codes) == len(names)
    assert max(len(code) for code in codes) <= 16
