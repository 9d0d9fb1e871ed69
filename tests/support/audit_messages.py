"""The structure of DICOM audit messages (PS3.15 A.5.1), checked element by element, and their contents (A.5.3)."""

from __future__ import annotations

import base64
import re
from datetime import datetime
from typing import Final
from xml.etree import ElementTree as ET

Element = ET.Element
CODED: Final = ({"csd-code", "codeSystemName", "originalText"}, {"displayName"})

CHILDREN: Final[dict[str, list[tuple[str, int, int]]]] = {
    "AuditMessage": [
        ("EventIdentification", 1, 1), ("ActiveParticipant", 1, 99),
        ("AuditSourceIdentification", 1, 1), ("ParticipantObjectIdentification", 0, 99),
    ],
    "EventIdentification": [("EventID", 1, 1), ("EventTypeCode", 0, 99), ("EventOutcomeDescription", 0, 1)],
    "ActiveParticipant": [("RoleIDCode", 0, 99)],
    "AuditSourceIdentification": [("AuditSourceTypeCode", 0, 99)],
    "ParticipantObjectIdentification": [
        ("ParticipantObjectIDTypeCode", 1, 1), ("ParticipantObjectName", 1, 1),
        ("ParticipantObjectDetail", 0, 99), ("ParticipantObjectDescription", 0, 99),
    ],
    "ParticipantObjectDescription": [("SOPClass", 0, 99)],
}  # fmt: skip
"""Children in their order, with how often each may come."""

ATTRIBUTES: Final[dict[str, tuple[set[str], set[str]]]] = {
    "AuditMessage": (set(), set()),
    "EventIdentification": ({"EventDateTime", "EventOutcomeIndicator"}, {"EventActionCode"}),
    "EventID": CODED,
    "EventTypeCode": CODED,
    "RoleIDCode": CODED,
    "ParticipantObjectIDTypeCode": CODED,
    "EventOutcomeDescription": (set(), set()),
    "ActiveParticipant": (
        {"UserID", "UserIsRequestor"},
        {"AlternativeUserID", "UserName", "NetworkAccessPointID", "NetworkAccessPointTypeCode"},
    ),
    "AuditSourceIdentification": ({"AuditSourceID"}, {"AuditEnterpriseSiteID"}),
    "AuditSourceTypeCode": ({"csd-code"}, {"codeSystemName", "originalText"}),
    "ParticipantObjectIdentification": (
        {"ParticipantObjectID"},
        {"ParticipantObjectTypeCode", "ParticipantObjectTypeCodeRole"},
    ),
    "ParticipantObjectName": (set(), set()),
    "ParticipantObjectDetail": ({"type", "value"}, set()),
    "ParticipantObjectDescription": (set(), set()),
    "SOPClass": ({"NumberOfInstances"}, {"UID"}),
}
VALUES: Final = {
    "EventActionCode": "[CRUDE]",
    "EventOutcomeIndicator": "0|4|8|12",
    "UserIsRequestor": "true|false",
    "NetworkAccessPointTypeCode": "[12345]",
    "ParticipantObjectTypeCode": "[1234]",
    "ParticipantObjectTypeCodeRole": "[1-9]|1[0-9]|2[0-6]",
    "NumberOfInstances": "[0-9]+",
    "UID": "[0-9.]{1,64}",
    "csd-code": "[0-9]+",
}


def parse(xml: bytes) -> Element:
    """Parse a message; it is ours."""
    return ET.fromstring(xml)  # noqa: S314


def check_structure(message: Element) -> None:
    """Assert that an element and all in it are as the schema wants."""
    required, optional = ATTRIBUTES[message.tag]
    assert required <= set(message.attrib) <= required | optional, message.tag
    for name, value in message.attrib.items():
        assert re.fullmatch(VALUES.get(name, ".+"), value), (message.tag, name, value)
    if "EventDateTime" in message.attrib:
        assert datetime.fromisoformat(message.attrib["EventDateTime"]).tzinfo is not None
    if message.tag == "ParticipantObjectDetail":
        base64.b64decode(message.attrib["value"], validate=True)
    tags = [child.tag for child in message]
    position = 0
    for tag, least, most in CHILDREN.get(message.tag, []):
        count = 0
        while position < len(tags) and tags[position] == tag:
            count, position = count + 1, position + 1
        assert least <= count <= most, (message.tag, tag, count)
    assert position == len(tags), (message.tag, tags[position:])
    for child in message:
        check_structure(child)


def check_contents(message: Element) -> None:
    """Assert what A.5.3 asks of each kind of message beyond the schema."""
    code = message.find("EventIdentification/EventID").attrib["csd-code"]  # type: ignore[union-attr]
    participants = message.findall("ActiveParticipant")
    asking = [p for p in participants if p.attrib["UserIsRequestor"] == "true"]
    assert len(asking) == 1, code
    roles = [r.attrib["csd-code"] for r in message.findall("ActiveParticipant/RoleIDCode")]
    objects = message.findall("ParticipantObjectIdentification")
    kinds = [o.find("ParticipantObjectIDTypeCode").attrib["csd-code"] for o in objects]  # type: ignore[union-attr]
    if code == "110100":
        assert "110150" in roles
        assert "AETITLES=" in participants[0].attrib["AlternativeUserID"]
        assert objects == []
    if code in {"110102", "110104"}:
        assert sorted(roles) == ["110152", "110153"], "one source, one destination"
    if code in {"110102", "110103", "110104"}:
        assert kinds == ["110180", "2"], "the study, and the patient"
        assert objects[0].attrib["ParticipantObjectTypeCodeRole"] == "3"
        assert objects[1].attrib["ParticipantObjectTypeCodeRole"] == "1"
    if code == "110113":
        assert message.find("EventIdentification/EventTypeCode") is not None
        details = [d.attrib["type"] for d in message.iter("ParticipantObjectDetail")]
        assert details == ["Alert Description"]
    if code == "110101":
        assert objects[0].attrib["ParticipantObjectTypeCodeRole"] == "13"
