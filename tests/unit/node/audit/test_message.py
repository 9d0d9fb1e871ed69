"""Every event as DICOM audit message: structure, contents, and hostile texts."""

from __future__ import annotations

import json
from typing import Any, Final

import pytest

from node.audit.codes import MESSAGES
from node.audit.entry import AuditEvent, Entry, Participant, write_line
from node.audit.message import Reporter, audit_message
from tests.support.audit_messages import Element, check_contents, check_structure, parse

_A = AuditEvent
BY: Final = Reporter("lumbar-node", "LUMBARNODE", 4711)
OWN: Final = Participant("application", "LUMBARNODE", process=4711)
MR: Final = Participant("source", "MR1", "10.0.0.1")
US: Final = Participant("destination", "LUMBARNODE")
WE: Final = Participant("source", "LUMBARNODE")
PACS: Final = Participant("destination", "PACS", "pacs.example", name="pacs")
WEB: Final = Participant("destination", address="http://web/dicom-web", name="web")
ALICE: Final = Participant("user", user="alice")
SERIES: Final = {"study": "1.2.1", "series": "1.2.3"}
CLASSES: Final = {"sop_classes": {"1.2.840.10008.5.1.4.1.1.4": 128}, "objects": 128}

CASES: Final[dict[AuditEvent, tuple[tuple[Participant, ...], dict[str, Any]]]] = {
    _A.SERVICE_STARTED: ((OWN, Participant("user", user="lumbar")), {"version": "1"}),
    _A.SERVICE_STOPPED: ((OWN,), {}),
    _A.CONFIGURATION_CHANGED: ((OWN, ALICE), {"before": "a", "now": "b"}),
    _A.CERTIFICATE_CHANGED: ((OWN,), {"now": "b"}),
    _A.ASSOCIATION_ENDED: ((MR,), {"times": 1}),
    _A.ASSOCIATION_REFUSED: ((Participant("source", address="10.0.0.9"),), {"reason": "not known"}),
    _A.OBJECT_REFUSED: ((MR,), {"reason": "disk full"}),
    _A.OBJECT_QUARANTINED: ((MR, US), {**SERIES, "objects": 2, "reason": "no pixels"}),
    _A.SERIES_RECEIVED: ((MR, US), {**SERIES, **CLASSES}),
    _A.IDENTITY_CORRECTED: ((MR,), {**SERIES, "objects": 1}),
    _A.RESULT_CREATED: ((OWN,), {**SERIES, "result": "2.25.1"}),
    _A.DELIVERY_STARTED: ((WE, PACS), {**SERIES, "result": "2.25.1", "kind": "result"}),
    _A.RESULT_SENT: ((WE, WEB), {**SERIES, "result": "2.25.1", "objects": 7}),
    _A.STORAGE_VERIFIED: ((WE, PACS), {**SERIES}),
    _A.DELIVERY_FAILED: ((WE, PACS), {**SERIES, "reason": "refused"}),
    _A.WITHDRAWAL_SENT: ((WE, PACS), {**SERIES, "kind": "withdrawal"}),
    _A.RETRY_REQUESTED: ((ALICE, PACS), {**SERIES, "force": True}),
    _A.WITHDRAWAL_REQUESTED: ((ALICE,), {**SERIES, "result": "2.25.1"}),
    _A.RESULT_CONFIRMED: ((ALICE,), {**SERIES, "result": "2.25.1"}),
    _A.RESULT_REJECTED: ((ALICE,), {**SERIES, "result": "2.25.1", "reason": "wrong_level"}),
    _A.CORRECTION_ACCEPTED: ((MR, US), {**SERIES, "result": "2.25.1"}),
    _A.CORRECTION_REFUSED: ((MR, US), {**SERIES, "reason": "its Patient ID is another"}),
    _A.CORRECTION_REMOVED: ((ALICE,), {**SERIES, "entry": "3f0c", "reason": "wrong level"}),
    _A.PULL_REQUESTED: ((ALICE,), {"study": "1.2.1"}),
    _A.DESTINATION_TESTED: (
        (ALICE,),
        {"destination": "pacs", "study": "1.2.1", "verdict": "passed"},
    ),
    _A.LOGIN: ((ALICE,), {}),
    _A.LOGOUT: ((ALICE,), {}),
    _A.STUDY_OPENED: ((ALICE,), {"study": "1.2.1"}),
    _A.USERS_CHANGED: ((ALICE,), {"change": "user bob (viewer)"}),
    _A.FILES_PURGED: ((ALICE,), {**SERIES, "objects": 64}),
    _A.MODEL_CHANGED: ((ALICE,), {"version": "1"}),
    _A.STATE_REPAIRED: ((ALICE,), {"mended": 3, "left": 0}),
    _A.JOURNAL_REBUILT: ((ALICE,), {"read": {"event": 1}}),
    _A.JOURNAL_REPLACED: ((), {"reason": "older"}),
    _A.TRAIL_READ: ((ALICE,), {"command": "audit show"}),
    _A.TRAIL_DAMAGED: ((), {"damage": "cut"}),
    _A.ENTRIES_LOST: ((), {"times": 3}),
}


def _content(event: AuditEvent, who: Any = None, what: Any = None) -> dict[str, Any]:
    entry = Entry(1.0, event, CASES[event][0] if who is None else who, CASES[event][1] if what is None else what)  # fmt: skip
    raw: dict[str, Any] = json.loads(write_line(entry, 12, "0" * 64, b"").raw)
    return raw


def _message(content: dict[str, Any]) -> Element:
    xml = audit_message(content, "12 abc", BY)
    assert xml is not None
    assert xml.isascii()
    return parse(xml)


@pytest.mark.parametrize("event", sorted(MESSAGES))
def test_every_message_has_the_structure_and_contents_of_the_standard(event: str) -> None:
    message = _message(_content(AuditEvent(event)))
    check_structure(message)
    check_contents(message)


def test_events_without_a_message_are_known() -> None:
    without = {e for e in _A if audit_message(_content(e), "", BY) is None}
    assert without == {_A.ASSOCIATION_ENDED, _A.OBJECT_REFUSED, _A.STORAGE_VERIFIED}
    assert set(CASES) == set(_A)


def test_a_received_series_says_who_what_and_how_many() -> None:
    message = _message(_content(_A.SERIES_RECEIVED))
    event = message.find("EventIdentification")
    assert event is not None
    assert event.attrib["EventActionCode"] == "C"
    source, destination = message.findall("ActiveParticipant")
    assert source.attrib == {
        "UserID": "MR1", "UserIsRequestor": "true", "AlternativeUserID": "AETITLES=MR1",
        "NetworkAccessPointID": "10.0.0.1", "NetworkAccessPointTypeCode": "2",
    }  # fmt: skip
    assert destination.attrib["AlternativeUserID"] == "AETITLES=LUMBARNODE"
    study, patient = message.findall("ParticipantObjectIdentification")
    assert study.attrib["ParticipantObjectID"] == "1.2.1"
    assert patient.attrib["ParticipantObjectID"] == "withheld"
    (classes,) = message.iter("SOPClass")
    assert classes.attrib == {"UID": "1.2.840.10008.5.1.4.1.1.4", "NumberOfInstances": "128"}


def test_a_refused_peer_is_the_subject_of_the_alert_and_not_its_requestor() -> None:
    message = _message(_content(_A.ASSOCIATION_REFUSED))
    own, peer = message.findall("ActiveParticipant")
    assert (own.attrib["UserID"], own.attrib["UserIsRequestor"]) == ("4711", "true")
    assert (peer.attrib["UserID"], peer.attrib["UserIsRequestor"]) == ("10.0.0.9", "false")
    (subject,) = message.findall("ParticipantObjectIdentification")
    assert subject.attrib["ParticipantObjectID"] == "10.0.0.9"


def test_an_object_without_a_study_has_no_message() -> None:
    assert audit_message(_content(_A.OBJECT_QUARANTINED, what={"objects": 1}), "", BY) is None


@pytest.mark.parametrize("event", sorted(MESSAGES))
@pytest.mark.parametrize(
    "evil", ["A\nB\x1b[2J", '"><evil/>', "\x00\x01", "\ud800", "\ufffe", "&#27;", "é漢"]
)
def test_hostile_texts_stay_texts(event: str, evil: str) -> None:
    who = [{"role": "source", "ae_title": evil, "address": evil, "user": evil, "name": evil}]
    what = {"study": evil, "series": evil, "reason": evil, "sop_classes": {evil: 1}}
    content = {**_content(AuditEvent(event)), "who": who, "what": what}
    xml = audit_message(content, "12 abc", BY)
    assert xml is not None
    assert xml.isascii()
    assert not any(sign in xml for sign in (b"\n", b"\x1b", b"\x00", b"<evil"))
    assert b"&#27;" not in xml.replace(b"&amp;#27;", b"")
    tags = {element.tag for element in parse(xml).iter()}
    assert "evil" not in tags
