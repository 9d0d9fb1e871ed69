"""What a received data set says of itself, without trusting it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from node.receive import structure
from node.receive.structure import Survey
from node.store.incoming import Incoming

UID_CHARACTERS: Final = frozenset("0123456789.")


@dataclass(frozen=True, slots=True, eq=False)
class Received:
    """One C-STORE: its file, not yet durable, and what the request declared."""

    incoming: Incoming
    sop_class: str
    sop_instance: str
    transfer_syntax: str
    calling_ae: str


def survey(received: Received, largest: int) -> Survey:
    """Walk over a received data set. largest: the most bytes that a deflated one may inflate to."""
    with received.incoming.data_set() as file:
        return structure.survey(file, received.incoming.size, received.transfer_syntax, largest)


def is_uid(text: str) -> bool:
    """Return whether a text is a UID (PS3.5 section 9.1), leading zeros forgiven."""
    return (
        0 < len(text) <= 64
        and set(text) <= UID_CHARACTERS
        and not text.startswith(".")
        and not text.endswith(".")
    )


def why_unusable(walk: Survey, affected: str) -> str:
    """Return why an object cannot be tracked, or "" when it can."""
    if walk.fault:
        return f"the data set cannot be read: {walk.fault}"
    for name in ("SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"):
        uid = walk.uids[name]
        if not is_uid(uid):
            what = f"one of {len(uid)} characters" if uid else "none"
            return f"the data set has no valid {name}, but {what}"
    if walk.uids["SOPInstanceUID"] != affected:
        return "the data set's SOP Instance UID is not the one of the C-STORE request"
    return ""
