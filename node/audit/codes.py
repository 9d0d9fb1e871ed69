"""Which DICOM audit message (PS3.15 A.5.3) each event of the trail is, and its codes of PS3.16 CID 400 to 403."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from node.audit.entry import AuditEvent

_A = AuditEvent


@dataclass(frozen=True, slots=True)
class Code:
    """A coded value."""

    value: str
    meaning: str
    system: str = "DCM"


@dataclass(frozen=True, slots=True)
class Message:
    """A kind of message. action: Event Action Code. kind: Event Type Code, where the message has one."""

    event: Code
    action: str
    kind: Code | None = None


APPLICATION_ACTIVITY: Final = Code("110100", "Application Activity")
AUDIT_LOG_USED: Final = Code("110101", "Audit Log Used")
BEGIN_TRANSFERRING: Final = Code("110102", "Begin Transferring DICOM Instances")
INSTANCES_ACCESSED: Final = Code("110103", "DICOM Instances Accessed")
INSTANCES_TRANSFERRED: Final = Code("110104", "DICOM Instances Transferred")
USER_AUTHENTICATION: Final = Code("110114", "User Authentication")
SECURITY_ALERT: Final = Code("110113", "Security Alert")

APPLICATION: Final = Code("110150", "Application")
LAUNCHER: Final = Code("110151", "Application Launcher")
DESTINATION: Final = Code("110152", "Destination Role ID")
SOURCE: Final = Code("110153", "Source Role ID")

STUDY_UID: Final = Code("110180", "Study Instance UID")
NODE_ID: Final = Code("110182", "Node ID")
PATIENT_NUMBER: Final = Code("2", "Patient Number", "RFC-3881")
URI: Final = Code("12", "URI", "RFC-3881")


def _alert(value: str, meaning: str) -> Message:
    return Message(SECURITY_ALERT, "E", Code(value, meaning))


MESSAGES: Final[Mapping[str, Message]] = MappingProxyType(
    {
        _A.SERVICE_STARTED: Message(APPLICATION_ACTIVITY, "E", Code("110120", "Application Start")),
        _A.SERVICE_STOPPED: Message(APPLICATION_ACTIVITY, "E", Code("110121", "Application Stop")),
        _A.CONFIGURATION_CHANGED: _alert("110129", "Security Configuration"),
        _A.CERTIFICATE_CHANGED: _alert("110129", "Security Configuration"),
        _A.ASSOCIATION_REFUSED: _alert("110126", "Node Authentication"),
        _A.OBJECT_QUARANTINED: Message(INSTANCES_TRANSFERRED, "C"),
        _A.SERIES_RECEIVED: Message(INSTANCES_TRANSFERRED, "C"),
        _A.IDENTITY_CORRECTED: Message(INSTANCES_ACCESSED, "U"),
        _A.RESULT_CREATED: Message(INSTANCES_ACCESSED, "C"),
        _A.DELIVERY_STARTED: Message(BEGIN_TRANSFERRING, "E"),
        _A.RESULT_SENT: Message(INSTANCES_TRANSFERRED, "R"),
        _A.DELIVERY_FAILED: Message(INSTANCES_TRANSFERRED, "R"),
        _A.WITHDRAWAL_SENT: Message(INSTANCES_TRANSFERRED, "R"),
        _A.RETRY_REQUESTED: _alert("110132", "Use of Restricted Function"),
        _A.WITHDRAWAL_REQUESTED: _alert("110132", "Use of Restricted Function"),
        _A.RESULT_CONFIRMED: Message(INSTANCES_ACCESSED, "C"),
        _A.RESULT_REJECTED: Message(INSTANCES_ACCESSED, "U"),
        _A.PULL_REQUESTED: _alert("110132", "Use of Restricted Function"),
        _A.CORRECTION_ACCEPTED: Message(INSTANCES_ACCESSED, "C"),
        _A.CORRECTION_REFUSED: Message(INSTANCES_ACCESSED, "R"),
        _A.CORRECTION_REMOVED: Message(INSTANCES_ACCESSED, "D"),
        _A.DESTINATION_TESTED: _alert("110132", "Use of Restricted Function"),
        _A.STUDY_OPENED: Message(INSTANCES_ACCESSED, "R"),
        _A.LOGIN: Message(USER_AUTHENTICATION, "E", Code("110122", "Login")),
        _A.LOGOUT: Message(USER_AUTHENTICATION, "E", Code("110123", "Logout")),
        _A.USERS_CHANGED: _alert("110136", "Security Roles Changed"),
        _A.FILES_PURGED: Message(INSTANCES_ACCESSED, "D"),
        _A.MODEL_CHANGED: _alert("110131", "Software Configuration"),
        _A.STATE_REPAIRED: _alert("110132", "Use of Restricted Function"),
        _A.JOURNAL_REBUILT: _alert("110132", "Use of Restricted Function"),
        _A.JOURNAL_REPLACED: _alert("110129", "Security Configuration"),
        _A.TRAIL_READ: Message(AUDIT_LOG_USED, "R"),
        _A.TRAIL_DAMAGED: _alert("110135", "Object Security Attributes Changed"),
        _A.ENTRIES_LOST: _alert("110133", "Audit Recording Stopped"),
    }
)
"""Events without a message are in the trail alone: accepted associations, refused objects, proofs of storage."""

OUTCOMES: Final[Mapping[str, tuple[str, int]]] = MappingProxyType(
    {
        "success": ("0", 5),
        "minor_failure": ("4", 4),
        "serious_failure": ("8", 3),
        "major_failure": ("12", 2),
    }
)
"""Event Outcome Indicator, and severity of syslog, of each outcome."""

TRANSFERS: Final = frozenset({INSTANCES_TRANSFERRED, BEGIN_TRANSFERRING, INSTANCES_ACCESSED})
"""Messages that name a study and a patient."""

MEANINGS: Final[Mapping[AuditEvent, str]] = MappingProxyType(
    {
        _A.SERVICE_STARTED: "The service started: version, digest of the effective configuration.",
        _A.SERVICE_STOPPED: "The service stopped in order. After a kill it is absent.",
        _A.CONFIGURATION_CHANGED: "The configuration is another than at the start before: both digests.",
        _A.CERTIFICATE_CHANGED: "Files of `[tls]` were read again, or could not be.",
        _A.ASSOCIATION_ENDED: "Associations of one peer ended alike: how many, how many objects they brought.",
        _A.ASSOCIATION_REFUSED: "A connection or association was rejected.",
        _A.OBJECT_REFUSED: "An object was refused before it was acknowledged.",
        _A.OBJECT_QUARANTINED: "Objects were kept that cannot be used.",
        _A.SERIES_RECEIVED: "A series is complete, or nothing came any more: one entry per sender.",
        _A.IDENTITY_CORRECTED: "Objects came again with another identity, and took the place of the first.",
        _A.RESULT_CREATED: "A result was made of a series.",
        _A.DELIVERY_STARTED: "A result, or the withdrawal of one, is to be sent to a destination.",
        _A.RESULT_SENT: "A destination accepted every object of a result.",
        _A.STORAGE_VERIFIED: "A destination proved that it holds a result.",
        _A.DELIVERY_FAILED: "A destination refused objects for good, or patience ended.",
        _A.WITHDRAWAL_SENT: "A destination accepted the rejection note of a replaced result.",
        _A.RETRY_REQUESTED: "A person asked for another try.",
        _A.CORRECTION_ACCEPTED: "A segmentation that a viewer sent corrects a result, and is kept as a labelled case.",
        _A.CORRECTION_REFUSED: "A segmentation that was meant as a correction of a result cannot be used.",
        _A.CORRECTION_REMOVED: "A person took the case of a correction back; its folder is gone.",
        _A.FILES_PURGED: "Files of a series or of the quarantine were removed, by `[retention]` or a person.",
        _A.WITHDRAWAL_REQUESTED: "A person asked to take a result back from every destination.",
        _A.RESULT_CONFIRMED: "A physician confirmed a result: a verified report is made of it.",
        _A.RESULT_REJECTED: "A physician rejected a result, with the code of the reason; it is taken back.",
        _A.LOGIN: "A person logged in at the console, or tried to.",
        _A.STUDY_OPENED: "A person opened a study in the viewer, or the page of one of its series: once in an hour.",
        _A.LOGOUT: "A person logged out of the console.",
        _A.USERS_CHANGED: "A person added, changed or removed a user of the console.",
        _A.PULL_REQUESTED: "A person asked to fetch a study from a source.",
        _A.DESTINATION_TESTED: "A person sent a synthetic study through a destination: its study, the verdict.",
        _A.MODEL_CHANGED: "A person promoted a model or rolled back.",
        _A.STATE_REPAIRED: "A person repaired the state folder: how many items.",
        _A.JOURNAL_REBUILT: "A person rebuilt the journal.",
        _A.JOURNAL_REPLACED: "The journal is older than the trail: a backup was restored.",
        _A.TRAIL_READ: "A person read or verified the trail.",
        _A.TRAIL_DAMAGED: "The node found the end of the trail cut or changed.",
        _A.ENTRIES_LOST: "Entries could not be kept while the disk took none: how many.",
    }
)
