"""Review in the console: who may decide, once, what is made of it, and what a kill between two steps leaves."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from node.audit.entry import Participant
from node.audit.from_journal import Places, Reader
from node.config.destinations import FolderDestination
from node.console.app import application
from node.console.console import Console
from node.console.tries import FREE
from node.deliver.memory import InMemory
from node.deliver.verified import find_or_write_verified
from node.journal.journal import Journal
from node.journal.rows import ResultRow, SeriesKey
from node.observe.weigh import WeighStep
from node.retention.purge import Purger
from node.store.layout import StateDirectory
from node.verify.facts import facts_of
from tests.support.clock import Clock
from tests.support.consoles import PASSWORD, Browser, console_over
from tests.support.deliveries import begin_work, deliver_step
from tests.support.deliveries import facts_of as row_facts
from tests.support.mr_series import KEY
from tests.support.sent_results import write_small_result

PACS = FolderDestination(name="pacs", kind="folder", path=Path("out"))
PICTURES = FolderDestination(name="pictures", kind="folder", path=Path("p"), profile="images-only")


@dataclass
class Clinic:
    """A node with one delivered result, its console, and the destination `pacs`."""

    state: Path
    journal: Journal
    console: Console
    folder: Path
    peer: InMemory
    clock: Any

    @property
    def result(self) -> str:
        return self.folder.name

    def deliver(self) -> None:
        step = deliver_step(self.journal, self.clock, self.peer, objects=(), profile="dicom-viewer")
        step.state = StateDirectory(self.state)
        for _ in range(3):
            step.run_once()
            self.clock.pass_s(10)

    def verified(self) -> list[bytes]:
        return [content for name, content in self.peer.held.items() if "verified" in name]


@pytest.fixture
def clinic(tmp_path: Path, clock: Clock, studio: Any) -> Clinic:
    state = tmp_path / "state"
    journal = Journal.open(state / "journal.sqlite", clock)
    folder, _ = write_small_result(studio, state / "results")
    listed = json.loads((folder / "result.json").read_text())
    (folder / "result.json").write_text(json.dumps({**VALUES, **listed}))
    journal.instances.add(row_facts(state, "r1"))
    begin_work(journal, state, folder.name, folder=folder)
    console = console_over(journal, state, institution="Klinik Süd")
    node = console.config.node.model_copy(update={"destination": (PACS, PICTURES)})
    config = console.config.model_copy(update={"node": node})
    console = Console(**{n: getattr(console, n) for n in console.__slots__} | {"config": config})
    made = Clinic(state, journal, console, folder, InMemory("pacs"), clock)
    made.deliver()
    return made


def _length(value: float) -> dict[str, Any]:
    return {"value_mm": value, "uncertainty_mm": 0.4, "range_mm": None, "side": "left", "note": "", "flags": [], "refusal": None}  # fmt: skip


VALUES = {
    "measurements": {"OC": _length(12.3), "DAA": _length(15.0), "DIVC": _length(20.0), "PI": _length(1.9)},
    "extra": {}, "warnings": [], "model": {"name": "m", "version": "1"},
    "level": {"name": "L4/L5", "confidence": 0.6, "warnings": []},
}  # fmt: skip


@pytest.fixture
def browse(clinic: Clinic) -> Callable[[str], Browser]:
    app = application(clinic.console)

    def log_in(role: str) -> Browser:
        browser = Browser(app)
        assert browser.log_in(role).status_code == 303
        return browser

    return log_in


def _form(browser: Browser, clinic: Clinic, **more: str) -> dict[str, str]:
    return {"token": browser.token(), "result": clinic.result, "password": PASSWORD, **more}


# ---- who may --------------------------------------------------------------------------------------


@pytest.mark.parametrize("role", ["viewer", "operator"])
@pytest.mark.parametrize("action", ["confirm", "reject"])
def test_only_a_physician_decides(clinic: Clinic, browse: Any, role: str, action: str) -> None:
    browser = browse(role)
    assert browser.get(f"/series/1/{action}", params={"result": clinic.result}).status_code == 403
    answer = browser.post(f"/series/1/{action}", _form(browser, clinic, reason="other"))
    assert (answer.status_code, "only a physician" in answer.text) == (403, True)
    assert 'id="confirm"' not in browser.get("/series/1").text
    assert clinic.journal.reviews.decision(clinic.result).verdict == ""


def test_a_form_of_another_login_or_origin_decides_nothing(clinic: Clinic, browse: Any) -> None:
    browser = browse("physician")
    form = _form(browser, clinic)
    assert browser.post("/series/1/confirm", {**form, "token": "0" * 64}).status_code == 403
    assert browser.post("/series/1/confirm", form, origin="http://evil.example").status_code == 403
    assert clinic.journal.reviews.decision(clinic.result).verdict == ""


def test_a_viewer_sees_neither_patients_nor_doubts(clinic: Clinic, browse: Any) -> None:
    WeighStep(clinic.journal, clinic.clock).run_once()
    assert "another disc" not in browse("viewer").get("/review").text
    assert "another disc" not in browse("viewer").get("/series/1").text
    assert "another disc" in browse("operator").get("/review").text


# ---- to confirm -----------------------------------------------------------------------------------


def test_a_confirmed_result_leaves_the_list_and_arrives_verified(
    clinic: Clinic, browse: Any
) -> None:
    WeighStep(clinic.journal, clinic.clock).run_once()
    browser = browse("physician")
    page = browser.get("/review").text
    assert "the level may be another disc: confidence 0.60" in page
    assert 'href="/series/1#review"' in page
    question = browser.get("/series/1/confirm", params={"result": clinic.result}).text
    assert "OC 12.3 ± 0.4 mm" in question
    assert "sent to pacs." in question
    assert browser.post("/series/1/confirm", _form(browser, clinic)).status_code == 303
    assert "Nothing waits for a review" in browser.get("/review").text
    assert re.search(r"Confirmed by <b>physician</b>, Klinik Süd", browser.get("/series/1").text)
    clinic.deliver()
    (content,) = clinic.verified()
    before, after = dcmread(clinic.folder / "measurements.dcm"), dcmread(BytesIO(content))
    assert facts_of(after).to_json() == facts_of(before).to_json()
    (observer,) = after.VerifyingObserverSequence
    assert (after.VerificationFlag, str(observer.VerifyingObserverName)) == ("VERIFIED", "physician^")  # fmt: skip
    rows = [(d.destination, d.kind, d.state) for d in clinic.journal.deliveries.of_series(KEY)]
    assert rows == [("pacs", "result", "confirmed"), ("pacs", "verified", "confirmed")]


def test_a_confirmation_is_signed_by_the_password_of_the_login(clinic: Clinic, browse: Any) -> None:
    browser = browse("physician")
    for wrong in ("", "not the password"):
        answer = browser.post("/series/1/confirm", _form(browser, clinic, password=wrong))
        assert (answer.status_code, "the password is wrong" in answer.text) == (403, True)
    assert clinic.journal.reviews.decision(clinic.result).verdict == ""
    for _ in range(FREE - 2):
        browser.post("/series/1/confirm", _form(browser, clinic, password=wrong))
    late = browser.post("/series/1/confirm", _form(browser, clinic))
    assert (late.status_code, "too many wrong passwords" in late.text) == (403, True)
    assert clinic.journal.reviews.decision(clinic.result).verdict == ""


def test_the_second_physician_is_answered_409_with_who_was_first(
    clinic: Clinic, browse: Any
) -> None:
    first, second = browse("physician"), browse("physician")
    forms = [_form(b, clinic) for b in (first, second)]
    assert first.post("/series/1/confirm", forms[0]).status_code == 303
    again = second.post("/series/1/confirm", forms[1])
    assert (again.status_code, "physician confirmed this result at 2" in again.text) == (409, True)
    rejected = second.post("/series/1/reject", {**forms[1], "reason": "other"})
    assert rejected.status_code == 409
    clinic.deliver()
    assert len(clinic.verified()) == 1


def test_a_kill_after_the_decision_neither_loses_nor_doubles_it(
    clinic: Clinic, browse: Any
) -> None:
    browser = browse("physician")
    browser.post("/series/1/confirm", _form(browser, clinic))
    assert not (clinic.state / "verified").exists()  # killed before the file
    made = clinic.journal.reviews.decision(clinic.result)
    first = find_or_write_verified(clinic.folder, made, clinic.state / "verified")
    before = first.path.read_bytes()
    clinic.deliver()  # killed before the delivery: the file is there
    clinic.deliver()
    assert clinic.verified() == [before]
    assert len(list((clinic.state / "verified").rglob("*.dcm"))) == 1


@pytest.mark.parametrize("damage", ["gone", "changed"])
def test_a_report_that_cannot_be_made_is_not_promised(
    clinic: Clinic, browse: Any, damage: str
) -> None:
    report = clinic.folder / "measurements.dcm"
    report.unlink() if damage == "gone" else report.write_bytes(b"x")
    browser = browse("physician")
    answer = browser.post("/series/1/confirm", _form(browser, clinic))
    assert (answer.status_code, "gone or damaged" in answer.text) == (409, True)
    assert clinic.journal.reviews.decision(clinic.result).verdict == ""


def test_without_an_institution_nothing_is_confirmed(clinic: Clinic) -> None:
    browser = Browser(application(console_over(clinic.journal, clinic.state)))
    browser.log_in("physician")
    assert "[web] institution" in browser.get("/review").text
    answer = browser.post("/series/1/confirm", _form(browser, clinic))
    assert (answer.status_code, "[web] institution" in answer.text) == (409, True)


# ---- to reject ------------------------------------------------------------------------------------


def test_a_rejected_result_is_taken_back_with_its_reason(clinic: Clinic, browse: Any) -> None:
    browser = browse("physician")
    question = browser.get("/series/1/reject", params={"result": clinic.result}).text
    assert '<option value="wrong_level">the level is another disc</option>' in question
    answer = browser.post("/series/1/reject", _form(browser, clinic, reason="PAT^NAME"))
    assert (answer.status_code, "choose a reason" in answer.text) == (409, True)
    form = _form(browser, clinic, reason="wrong_level")
    assert browser.post("/series/1/reject", form).status_code == 303
    page = browser.get("/series/1").text
    assert re.search(r"Rejected by <b>physician</b> at .*the level is another disc", page)
    clinic.deliver()
    (note,) = [dcmread(BytesIO(c)) for n, c in clinic.peer.held.items() if "rejection" in n]
    assert note.ConceptNameCodeSequence[0].CodeValue == "113001"
    assert clinic.verified() == []


def test_a_confirmed_result_that_is_taken_back_takes_its_verified_report_with_it(
    clinic: Clinic, browse: Any
) -> None:
    physician, operator = browse("physician"), browse("operator")
    physician.post("/series/1/confirm", _form(physician, clinic))
    clinic.deliver()
    (verified,) = (dcmread(BytesIO(c)) for c in clinic.verified())
    seen = str(clinic.journal.paging.newest_event(1))
    form = _form(operator, clinic, seen=seen)
    assert operator.post("/series/1/withdraw", form).status_code == 303
    clinic.deliver()
    (note,) = [dcmread(BytesIO(c)) for n, c in clinic.peer.held.items() if "rejection" in n]
    rejected = {
        i.ReferencedSOPInstanceUID
        for s in note.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
        for i in s.ReferencedSOPSequence
    }
    assert verified.SOPInstanceUID in rejected
    assert dcmread(clinic.folder / "measurements.dcm").SOPInstanceUID in rejected


PLACES = Places(Participant("application"), {})


# ---- what is kept of it ---------------------------------------------------------------------------


def test_the_audit_trail_has_who_decided_what_and_nothing_of_the_patient(
    clinic: Clinic, browse: Any
) -> None:
    browser = browse("physician")
    browser.post("/series/1/confirm", _form(browser, clinic))
    found = Reader(clinic.journal.changes, PLACES).entries(clinic.journal.changes.since(1, 500))
    (entry,) = [e for e in found if e.event == "result_confirmed"]
    assert [p.user for p in entry.who] == ["physician"]
    assert entry.what == {"study": KEY.study, "series": KEY.series, "result": clinic.result}
    text = json.dumps([e.what for e in found])
    assert "Test^" not in text
    assert "12.3" not in text


def test_hostile_addresses_are_pages_or_refusals(clinic: Clinic, browse: Any) -> None:
    browser = browse("physician")
    for path in (
        "/review?after=x", "/review?after=1.0_2.0_<script>", "/review?before=99999999999999.0_1.0_a", "/review?before=0.0_0.0_",
        "/corrections?older=1.0_99999999999999999999", "/corrections?newer=%00", "/corrections?older=1.0_5",
    ):  # fmt: skip
        assert browser.get(path).status_code == 200
    for path in ("/series/1/confirm?result=<b>", "/series/9/confirm?result=r", "/series/99999999999999999999/reject?result=r"):  # fmt: skip
        assert browser.get(path).status_code == 404


def test_a_purge_removes_the_verified_report_too(clinic: Clinic, browse: Any) -> None:
    browser = browse("physician")
    browser.post("/series/1/confirm", _form(browser, clinic))
    clinic.deliver()
    assert len(list((clinic.state / "verified").rglob("*.dcm"))) == 1
    seen = clinic.journal.purges.candidate(1)
    assert seen is not None
    Purger(clinic.journal).series(seen, "age")
    assert list((clinic.state / "verified").rglob("*.dcm")) == []


def test_a_rebuilt_journal_knows_who_decided(clinic: Clinic, browse: Any) -> None:
    browser = browse("physician")
    browser.post("/series/1/confirm", _form(browser, clinic))
    new = Journal.open(clinic.state / "new.sqlite", clinic.clock)
    new.instances.add(row_facts(clinic.state, "r1"))
    assert new.restore.add_result(SeriesKey(*KEY), ResultRow(clinic.result, clinic.folder, "d"))
    new.restore.take_over(clinic.state / "journal.sqlite")
    made = new.reviews.decision(clinic.result)
    assert made == clinic.journal.reviews.decision(clinic.result)
    assert (made.verdict, made.by, made.organization) == ("confirmed", "physician", "Klinik Süd")
    new.close()
