"""C-STORE: the presentation contexts of what is sent, one object, and its status in words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from pydicom import dcmread
from pydicom.uid import ImplicitVRLittleEndian
from pynetdicom import build_context
from pynetdicom.association import Association
from pynetdicom.presentation import PresentationContext
from pynetdicom.status import STORAGE_SERVICE_CLASS_STATUS

from node.deliver.offers import NATIVE, class_name, remedy, syntax_title
from node.deliver.port import Outcome, ResultFile
from node.deliver.status import judge_status

ABORTED: Final = "aborted"
_NATIVE_REMEDY: Final = "enable Explicit VR Little Endian on the PACS, then `lumbar-node retry`"


def storage_contexts(files: Sequence[ResultFile]) -> list[PresentationContext]:
    """Return one context per SOP class and encoding that is sent, and Implicit VR to fall back to.

    In contexts of their own: from one context with both the acceptor chooses by its own order, and
    many choose Implicit VR, which loses the types of private elements.
    """
    wanted: dict[tuple[str, str], None] = {}
    for variant in (v for file in files for v in (file, file.plain) if v):
        wanted[variant.sop_class, variant.transfer_syntax] = None
        if variant.transfer_syntax in NATIVE:
            wanted[variant.sop_class, ImplicitVRLittleEndian] = None
    return [build_context(sop_class, [syntax]) for sop_class, syntax in wanted]


def accepted_syntaxes(peer: Association) -> dict[str, list[str]]:
    """Return the accepted transfer syntaxes by SOP class."""
    taken: dict[str, list[str]] = {}
    for context in peer.accepted_contexts:
        syntaxes = taken.setdefault(str(context.abstract_syntax), [])
        syntaxes += [str(syntax) for syntax in context.transfer_syntax]
    return taken


def _variant(file: ResultFile, taken: Sequence[str]) -> ResultFile:
    """The file as the peer takes it: compressed, or plain where it takes no compression."""
    return file.plain if file.plain and file.transfer_syntax not in taken else file


def _fits(file: ResultFile, taken: Sequence[str]) -> bool:
    """Whether a file can be sent in one of these syntaxes; the two without compression replace each other."""
    return file.transfer_syntax in taken or (
        file.transfer_syntax in NATIVE and any(syntax in NATIVE for syntax in taken)
    )


def store(peer: Association, file: ResultFile, number: int, address: str) -> Outcome:
    """Send one object; `ABORTED` is the status of one at which the association ended."""
    taken = accepted_syntaxes(peer).get(file.sop_class)
    if taken is None:
        name, what_to_do = class_name(file.sop_class), remedy(file.sop_class)
        text = f"{address} does not accept SOP class {name}; {what_to_do}"
        return Outcome(file.name, "permanent", text, "no context")
    if not peer.is_established:
        return Outcome(file.name, "transient", f"{address} ended the association", ABORTED)
    sent = _variant(file, taken)
    if not _fits(sent, taken):
        name, syntax = class_name(file.sop_class), syntax_title(sent.transfer_syntax)
        text = f"{address} accepts SOP class {name}, but not in the transfer syntax {syntax}; {_NATIVE_REMEDY}"
        return Outcome(file.name, "permanent", text, "no context")
    try:
        answer = peer.send_c_store(dcmread(sent.path), msg_id=number)
    except ValueError:  # its words may quote the data set
        text = f"the object cannot be encoded in a transfer syntax that {address} accepts; {_NATIVE_REMEDY}"
        return Outcome(file.name, "permanent", text, "no context")
    except RuntimeError:
        return Outcome(file.name, "transient", f"{address} ended the association", ABORTED)
    if "Status" not in answer:  # aborted, by the peer or after the time-out by ourselves
        return Outcome(file.name, "transient", f"{address} ended the association", ABORTED)
    status = int(answer.Status)
    if judge_status(status) == "accepted":
        return Outcome(file.name, "accepted", status=f"0x{status:04X}")
    # Never its Error Comment, which may quote the patient: the reason is kept in journal, log and audit trail.
    text = f"{address} answers C-STORE with {_meaning(status)}; look into its log"
    return Outcome(file.name, judge_status(status), text, f"0x{status:04X}")


def _meaning(status: int) -> str:
    """Status with the standard's words for it (PS3.7 C, PS3.4 B.2.3)."""
    words = STORAGE_SERVICE_CLASS_STATUS.get(status, ("", ""))[1]
    return f"0x{status:04X}" + (f", {words[0].lower()}{words[1:]}" if words else "")
