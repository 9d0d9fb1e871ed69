"""What a received data set says of itself, without trusting it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from node.receive import structure
from node.receive.leading_elements import UIDS
from node.receive.structure import Survey
from node.store.incoming import Incoming

LONGEST_VALID_UID: Final = 64
_UID: Final = re.compile(r"[0-9](?:[0-9.]*[0-9])?", re.ASCII)


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
    incoming, syntax = received.incoming, received.transfer_syntax
    leading = structure.survey_head(incoming.head, incoming.size, syntax)
    if leading.at == incoming.size:
        uids = dict.fromkeys(UIDS.values(), "") | dict(leading.uids)
        return Survey(uids, "", incoming.size, leading.pixels_at)
    with incoming.data_set() as file:
        return structure.survey(file, incoming.size, syntax, largest, leading)


def is_uid(text: str) -> bool:
    """Return whether a text is a UID (PS3.5 section 9.1), leading zeros forgiven."""
    return len(text) <= LONGEST_VALID_UID and _UID.fullmatch(text) is not None


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
