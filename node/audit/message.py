"""An entry of the trail as DICOM audit message: XML of PS3.15 A.5, in the form of its schema (A.5.1).

The patient is a participant of every message about instances, and is never named: the Study Instance UID says
where to look. Every text of a peer is escaped; what XML cannot hold is written as `\\x1b`.
"""

from __future__ import annotations

import base64
import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final
from xml.etree import ElementTree as ET

from node.audit.codes import (
    APPLICATION,
    AUDIT_LOG_USED,
    DESTINATION,
    LAUNCHER,
    MESSAGES,
    NODE_ID,
    OUTCOMES,
    PATIENT_NUMBER,
    SECURITY_ALERT,
    SOURCE,
    STUDY_UID,
    TRANSFERS,
    URI,
    Code,
)

PATIENT: Final = "withheld"
"""Participant Object ID of the patient."""

TRAIL_URI: Final = "urn:lumbar-node:audit-trail"
_SYSTEM, _PERSON = "2", "1"
_REPORT, _PATIENT, _SECURITY = "3", "1", "13"
_APPLICATION_SERVER: Final = "4"
_NOT_XML: Final = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]")

_ROLES: Final = {"source": SOURCE, "destination": DESTINATION, "application": APPLICATION}

Element = ET.Element


@dataclass(frozen=True, slots=True)
class Reporter:
    """The node as the source of audit messages. name: `[node] name`; process: its id."""

    name: str
    ae_title: str
    process: int


def audit_message(content: Mapping[str, Any], number_and_hash: str, by: Reporter) -> bytes | None:
    """Return the message of an entry as ASCII, None for one that is in the trail alone.

    content: of a line of the trail. number_and_hash: of that line, for the description of the outcome.
    """
    event = str(content.get("event", ""))
    found = MESSAGES.get(event)
    what = _mapping(content.get("what"))
    if found is None or (found.event in TRANSFERS and not what.get("study")):
        return None
    message = Element("AuditMessage")
    outcome = OUTCOMES.get(str(content.get("outcome")), OUTCOMES["major_failure"])[0]
    identification = _child(
        message,
        "EventIdentification",
        EventActionCode=found.action,
        EventDateTime=str(content.get("time", "")),
        EventOutcomeIndicator=outcome,
    )
    _coded(identification, "EventID", found.event)
    if found.kind is not None:
        _coded(identification, "EventTypeCode", found.kind)
    reason = f"{what['reason']}; " if what.get("reason") else ""
    described = _child(identification, "EventOutcomeDescription")
    described.text = _clean(f"{reason}{event}, audit trail entry {number_and_hash}")
    who = [_mapping(p) for p in content.get("who", ())]
    _participants(message, found.event, who, by)
    source = _child(message, "AuditSourceIdentification", AuditSourceID=by.name)
    source.append(Element("AuditSourceTypeCode", {"csd-code": _APPLICATION_SERVER}))
    if found.event in TRANSFERS:
        _study(message, what)
        _patient(message)
    elif found.event == SECURITY_ALERT:
        _subject(message, event, who, what)
    elif found.event == AUDIT_LOG_USED:
        _object(message, TRAIL_URI, URI, "Security Audit Log", _SYSTEM, _SECURITY)
    xml: bytes = ET.tostring(message, encoding="us-ascii", xml_declaration=False)
    return b'<?xml version="1.0" encoding="UTF-8"?>' + xml


# ---- participants --------------------------------------------------------------------------------


def _participants(
    message: Element, event: Code, who: Sequence[Mapping[str, Any]], by: Reporter
) -> None:
    """Add who took part; exactly one is the requestor, and the node reports every alert."""
    own = {"role": "application", "ae_title": by.ae_title, "process": by.process}
    is_alert = event == SECURITY_ALERT
    listed = [own, *who] if is_alert and not any(p.get("process") for p in who) else list(who)
    listed = listed or [own]
    users = [p for p in listed if p.get("role") == "user"]
    # Who performed what an alert is about is never its requestor (A.5.3.11): the reporter is, or the user.
    reporters = [p for p in listed if p.get("process")] if is_alert else []
    first = (users or reporters or listed)[0]
    for participant in listed:
        _participant(message, participant, event, is_requestor=participant is first)


def _participant(
    message: Element, participant: Mapping[str, Any], event: Code, *, is_requestor: bool
) -> None:
    title, address = str(participant.get("ae_title", "")), str(participant.get("address", ""))
    names = ("user", "process", "name", "ae_title", "address")
    identity = next((str(participant[n]) for n in names if participant.get(n)), "unknown")
    attributes = {"UserID": identity, "UserIsRequestor": str(is_requestor).lower()}
    if title:
        attributes["AlternativeUserID"] = f"AETITLES={title}"
    if address:
        attributes["NetworkAccessPointID"] = address
        attributes["NetworkAccessPointTypeCode"] = _access_point(address)
    element = _child(message, "ActiveParticipant", **attributes)
    role = _ROLES.get(str(participant.get("role")))
    if participant.get("role") == "user" and event.value == "110100":
        role = LAUNCHER
    if role is not None:
        _coded(element, "RoleIDCode", role)


def _access_point(address: str) -> str:
    """Return the Network Access Point Type Code: a machine's name, an IP address or a URI."""
    if "/" in address:
        return "5"
    try:
        ipaddress.ip_address(address)
    except ValueError:
        return "1"
    return "2"


# ---- objects -------------------------------------------------------------------------------------


def _object(
    message: Element, identity: str, kind: Code, name: str, type_code: str, role: str
) -> Element:
    element = _child(
        message,
        "ParticipantObjectIdentification",
        ParticipantObjectID=identity,
        ParticipantObjectTypeCode=type_code,
        ParticipantObjectTypeCodeRole=role,
    )
    _coded(element, "ParticipantObjectIDTypeCode", kind)
    _child(element, "ParticipantObjectName").text = _clean(name)
    return element


def _study(message: Element, what: Mapping[str, Any]) -> None:
    study = str(what["study"])
    element = _object(message, study, STUDY_UID, "study", _SYSTEM, _REPORT)
    for key in ("series", "result", "kind"):
        if what.get(key):
            _detail(element, key, str(what[key]))
    classes = _mapping(what.get("sop_classes"))
    objects = what.get("objects")
    if not classes and not isinstance(objects, int):
        return
    description = _child(element, "ParticipantObjectDescription")
    for uid, count in classes.items():
        _child(description, "SOPClass", UID=str(uid), NumberOfInstances=str(int(count)))
    if not classes:
        _child(description, "SOPClass", NumberOfInstances=str(objects))


def _patient(message: Element) -> None:
    _object(message, PATIENT, PATIENT_NUMBER, PATIENT, _PERSON, _PATIENT)


def _subject(
    message: Element, event: str, who: Sequence[Mapping[str, Any]], what: Mapping[str, Any]
) -> None:
    """Add what an alert is about: the peer, or a part of this node."""
    peer = next((p for p in who if p.get("role") == "source"), None)
    if peer is not None:
        address = str(peer.get("address") or peer.get("ae_title") or "unknown")
        element = _object(message, address, NODE_ID, "peer", _SYSTEM, _SECURITY)
    else:
        uri = f"urn:lumbar-node:{event}"
        element = _object(message, uri, URI, event, _SYSTEM, _SECURITY)
    facts = [f"{key} {value}" for key, value in what.items() if not isinstance(value, Mapping)]
    _detail(element, "Alert Description", "; ".join([event, *facts]))


def _detail(element: Element, kind: str, value: str) -> None:
    encoded = base64.b64encode(value.encode("utf-8", "replace")).decode("ascii")
    _child(element, "ParticipantObjectDetail", type=kind, value=encoded)


# ---- XML -----------------------------------------------------------------------------------------


def _child(parent: Element, name: str, **attributes: str) -> Element:
    element = ET.SubElement(parent, name)
    for key, value in attributes.items():
        element.set(key, _clean(value))
    return element


def _coded(parent: Element, name: str, code: Code) -> None:
    values = {"csd-code": code.value, "codeSystemName": code.system, "originalText": code.meaning}
    parent.append(Element(name, values))


def _clean(text: str) -> str:
    return _NOT_XML.sub(lambda sign: f"\\x{ord(sign[0]):02x}", text)


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}
