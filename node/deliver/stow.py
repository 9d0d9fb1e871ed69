"""STOW-RS: the body of a request, and what a response says of each object.

The answer's body decides, never the HTTP code alone (PS3.18 10.5.3): a server may answer 200 or 202
and still have refused some objects.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC
from email.utils import parsedate_to_datetime
from types import MappingProxyType
from typing import Final

import httpx

from node.deliver.dicom_json import first_text, items
from node.deliver.port import Disposition, Outcome, ResultFile, all_alike
from node.deliver.status import judge_status

BOUNDARY: Final = "lumbar-node-part-7f1c9b52e0"
_REFERENCED, _FAILED, _REASON, _INSTANCE = "00081199", "00081198", "00081197", "00081155"
_RIGHTS: Final = "; check authorization_file and its permissions on the server"
_MOVED: Final = "; it redirects, which is not followed: set url to where it leads"
REMEDIES: Final = MappingProxyType(
    {401: _RIGHTS, 403: _RIGHTS, 404: "; check the URL"}
    | dict.fromkeys((301, 302, 303, 307, 308), _MOVED)
)
LONGEST_ASKED_S: Final = 366 * 86_400.0
"""Longest wait that is read from an answer; how much of it is kept, the destination's longest wait says."""
_DIGITS: Final = 12
"""More digits of seconds say nothing more."""
BODY_DECIDES: Final = frozenset({200, 202, 409})
OBJECT_REFUSED: Final = frozenset({400, 413, 415, 422})
"""HTTP codes that concern the objects; every other failure concerns the server, the route or permissions."""
ONE_IS_MEANT: Final = OBJECT_REFUSED | {500}
"""HTTP codes after which each object is sent by itself: some servers fail altogether at one that they cannot read."""


def multipart(files: Sequence[ResultFile]) -> bytes:
    """Return the body of a request, with the files' own bytes."""
    parts = [
        f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        + p.path.read_bytes()
        + b"\r\n"
        for p in files
    ]
    return b"".join([*parts, f"--{BOUNDARY}--\r\n".encode()])


def asked_wait_s(answer: httpx.Response) -> float:
    """Return the seconds for which a server asks not to be tried again (RFC 9110 10.2.3), 0 where it does not.

    A date counts from the server's own Date: its clock may differ from ours.
    """
    text = answer.headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdecimal():
        return min(float(text[:_DIGITS]), LONGEST_ASKED_S)
    try:
        times = [parsedate_to_datetime(t) for t in (text, answer.headers.get("Date", ""))]
        until, now = (t.replace(tzinfo=t.tzinfo or UTC) for t in times)
        return min(max((until - now).total_seconds(), 0.0), LONGEST_ASKED_S)
    except (ValueError, TypeError, IndexError, OverflowError):
        return 0.0


def judge_response(
    files: Sequence[ResultFile], answer: httpx.Response, shown: str
) -> tuple[Outcome, ...]:
    """Return an outcome for each file. shown: the server, as messages name it."""
    wait_s = asked_wait_s(answer)
    return tuple(
        replace(o, wait_s=wait_s) if o.disposition == "transient" else o
        for o in _judged(files, answer, shown)
    )


def _judged(files: Sequence[ResultFile], answer: httpx.Response, shown: str) -> tuple[Outcome, ...]:
    status = f"HTTP {answer.status_code}"
    if answer.status_code not in BODY_DECIDES:
        verdict: Disposition = "permanent" if answer.status_code in OBJECT_REFUSED else "transient"
        remedy = REMEDIES.get(answer.status_code, "")
        return all_alike(files, verdict, f"{shown} rejected the STOW-RS request{remedy}", status)
    try:
        body = answer.json()
        held = {first_text(item, _INSTANCE) for item in items(body, _REFERENCED)}
        failed = {
            first_text(item, _INSTANCE): int(first_text(item, _REASON) or 0)
            for item in items(body, _FAILED)
        }
    except (ValueError, TypeError, KeyError, AttributeError, IndexError):
        return all_alike(
            files, "transient", "STOW-RS response body is not valid DICOM JSON", status
        )
    return tuple(_outcome(p, held, failed, status) for p in files)


def _outcome(file: ResultFile, held: set[str], failed: Mapping[str, int], status: str) -> Outcome:
    if file.sop_instance in failed:
        reason = failed[file.sop_instance]
        text = f"refused with failure reason 0x{reason:04X}"
        return Outcome(
            file.name, judge_status(reason) if reason else "permanent", text, f"0x{reason:04X}"
        )
    if file.sop_instance in held:
        return Outcome(file.name, "accepted", "", status)
    return Outcome(file.name, "transient", "STOW-RS response does not name the object", status)
