"""The objects of a follow-up say what was measured when, what changed, and whether that exceeds both uncertainties."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicomseg.compare.change import REASONS
from dicomseg.compare.comparison import NOTES
from dicomseg.draw.languages import FOLLOWUP_TEXTS, LANGUAGES
from dicomseg.encode.further_codes import CODES
from dicomseg.encode.uids import ResultKey
from dicomseg.measurement_names import MAIN_MEASUREMENTS
from node.verify.own import read_set, report
from tests.support.encoded import errors_of
from tests.support.followups import Site
from tests.support.visits import content, length

DAA = "maximum Feret diameter"


@pytest.fixture
def folder(followup_site: Site) -> Path:
    """Three studies: OC 10 ± 0.5, 11 ± 0.5 and 12 ± 0.3; DAA 15.0 to 15.1; a psoas from 900 to 860 mm²."""
    area = content()["extra"]["psoas_area_left"]
    for n, (day, oc, sd, daa, psoas) in enumerate(
        (("20240301", 10.0, 0.5, 15.0, 900.0), ("20250301", 11.0, 0.5, 15.0, 900.0), ("20260301", 12.0, 0.3, 15.1, 860.0)), 1,
    ):  # fmt: skip
        values = {"OC": length(oc, sd), "DAA": length(daa, method=DAA)}
        if n == 3:
            values["PI"] = length(None)
        made = content(measurements=values, extra={"psoas_area_left": area | {"value": psoas}})
        key = followup_site.visit(n, day, made)
    followup_site.restart(language="en")
    assert followup_site.look() == 1
    (row,) = followup_site.followups(key)
    return row.folder


def walk(ds: Dataset) -> Iterator[Dataset]:
    for item in ds.get("ContentSequence", ()):
        yield item
        yield from walk(item)


def name_of(item: Dataset) -> str:
    names = item.get("ConceptNameCodeSequence")
    return str(names[0].CodeValue) if names else ""


def groups(ds: Dataset, what: str) -> list[dict[str, Any]]:
    """Groups of one tracking identifier: numbers, codes and time point by the name of the item."""
    found = []
    for group in walk(ds):
        items = list(group.get("ContentSequence", ()))
        if name_of(group) != "125007" or not any(i.get("TextValue") == f"lumbar-node:{what}" for i in items):  # fmt: skip
            continue
        held: dict[str, Any] = {}
        for item in items:
            if item.ValueType == "NUM":
                held[name_of(item)] = float(item.MeasuredValueSequence[0].NumericValue)
            elif item.ValueType == "CODE":
                held.setdefault(name_of(item), item.ConceptCodeSequence[0].CodeValue)
            elif item.ValueType == "TEXT":
                held.setdefault(name_of(item), str(item.TextValue))
        found.append(held)
    return found


def test_values_changes_and_verdicts_are_those_worked_out_by_hand(folder: Path) -> None:
    sr = dcmread(folder / "followup.dcm")
    values = groups(sr, "OC")
    distance, doubt, point, order = "121206", "UNCERTAINTY", "C2348792", "126073"
    assert [(v[point], v[order], v[distance], v[doubt]) for v in values] == [
        ("2024-03-01", 1.0, 10.0, 0.5), ("2025-03-01", 2.0, 11.0, 0.5), ("2026-03-01", 3.0, 12.0, 0.3),
    ]  # fmt: skip
    # √((2·0.5)² + (2·0.3)²) = √1.36 = 1.1662: 1 mm since the last study is within it, 2 mm since the first is not.
    changes = groups(sr, "change:OC")
    assert [(c["CHANGE"], c["CHANGELIMIT"], c["CHANGEVERDICT"]) for c in changes] == [
        (1.0, 1.166, "WITHIN"), (2.0, 1.166, "EXCEEDS"),
    ]  # fmt: skip
    assert changes[1]["121106"] == (
        "OC change 2024-03-01 to 2026-03-01, 730 days: +2.00 mm, must exceed 1.17 mm: exceeds the uncertainty"
    )
    # √((2·8)² + (2·8)²) = 22.63 < 40, and the model's part of an area is not known
    (area, _) = groups(sr, "change:psoas_area_left")
    assert (area["CHANGE"], area["CHANGELIMIT"], area["CHANGEVERDICT"]) == (-40.0, 22.63, "MODELPARTUNKNOWN")  # fmt: skip
    (refused,) = groups(sr, "PI")
    assert "121206" not in refused
    assert refused["NOTREPORTED"] == "NOSECTION"
    assert groups(sr, "change:PI")[0]["CHANGEVERDICT"] == "ABSENTBEFORE"


def test_every_number_names_the_report_that_it_comes_from(folder: Path) -> None:
    sr = dcmread(folder / "followup.dcm")
    inputs = json.loads((folder / "result.json").read_text())["inputs"]
    reports = {
        ResultKey(i).uid(f"{r}.instance") for i in inputs for r in ("measurements", "volumes")
    }
    named = {
        str(i.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)
        for i in walk(sr) if i.ValueType == "COMPOSITE"
    }  # fmt: skip
    assert named == reports

    def studies(keyword: str) -> list[str]:
        return [str(s.StudyInstanceUID) for s in sr[keyword].value]

    assert studies("CurrentRequestedProcedureEvidenceSequence") == ["1.1.3"]
    assert studies("PertinentOtherEvidenceSequence") == ["1.1.1", "1.1.2"]
    (oc,) = [i for i in walk(sr) if name_of(i) == "CHANGE"][:1]
    sources = [str(i.ReferencedSOPSequence[0].ReferencedSOPInstanceUID) for i in oc.ContentSequence]
    assert sources == [ResultKey(i).uid("measurements.instance") for i in inputs[1:]]


@pytest.mark.process
def test_objects_are_of_the_newest_study_and_pass_the_validator(
    folder: Path, tmp_path: Path
) -> None:
    names = ("followup.dcm", "followup_page.dcm", "followup_report.dcm")
    files = {name: (folder / name).read_bytes() for name in names}
    objects = {name: dcmread(folder / name) for name in names}
    assert {(str(d.StudyInstanceUID), d.PatientID, d.PatientBirthDate, d.ContentQualification) for d in objects.values()} == {("1.1.3", "PID-7", "19600102", "RESEARCH")}  # fmt: skip
    assert len({str(d.SeriesInstanceUID) for d in objects.values()}) == 3
    assert [d.SeriesNumber for d in objects.values()] == [4911, 4912, 4913]
    assert (objects["followup.dcm"].VerificationFlag, objects["followup.dcm"].PreliminaryFlag) == ("UNVERIFIED", "PRELIMINARY")  # fmt: skip
    assert errors_of(files, tmp_path, names) == []
    assert report(folder, names)["complaints"] == []


def test_the_page_shows_the_verdicts(folder: Path) -> None:
    page = dcmread(folder / "followup_page.dcm").pixel_array
    assert page.shape == (2338, 1653, 3)
    pdf = dcmread(folder / "followup_report.dcm")
    assert pdf.DocumentTitle == "L4/5 follow-up"
    assert bytes(pdf.EncapsulatedDocument).startswith(b"%PDF")
    assert np.mean(page < 128) > 0.01  # it is not empty


def test_verify_finds_what_was_changed(folder: Path) -> None:
    written = json.loads((folder / "result.json").read_text())
    names = ("followup.dcm", "followup_page.dcm", "followup_report.dcm")
    results, _ = read_set(folder, names)
    for change in (
        lambda r: r["steps"][0]["changes"]["OC"].update(exceeds=True),
        lambda r: r["steps"][0]["changes"]["OC"].update(change=3.0),
        lambda r: r["studies"][0]["values"]["OC"].update(value=13.0),
        lambda r: r.update(predecessor="b" * 32),
        lambda r: r["studies"].pop(0),
    ):
        content = json.loads(json.dumps(written))
        change(content)
        (folder / "result.json").write_text(json.dumps(content))
        assert report(folder, names)["complaints"], change
    assert set(results.objects) == set(names)


def test_the_same_order_gives_the_same_bytes(
    folder: Path, followup_site: Site, tmp_path: Path
) -> None:
    first = {p.name: p.read_bytes() for p in sorted(folder.iterdir())}
    asked: list[Any] = []
    usual = followup_site.ask
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    with followup_site.journal.database.transaction() as tx:
        tx.execute("DELETE FROM event")
        tx.execute("DELETE FROM delivery WHERE result_id = ?", (folder.name,))
        tx.execute("DELETE FROM result WHERE result_id = ?", (folder.name,))

    def ask(question: Any) -> Any:
        asked.append(question)
        return usual(question | {"created": json.loads(first["result.json"])["created"]})

    followup_site.restart(ask=ask)
    assert followup_site.look() == 1
    assert {p.name: p.read_bytes() for p in sorted(folder.iterdir())} == first


def test_every_language_has_every_text() -> None:
    assert FOLLOWUP_TEXTS.keys() == LANGUAGES.keys()
    for words in FOLLOWUP_TEXTS.values():
        assert words.reasons.keys() == REASONS.keys()
        assert words.notes.keys() == NOTES.keys()
        assert words.values.keys() == {*MAIN_MEASUREMENTS, *CODES}
