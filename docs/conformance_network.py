"""Tables of the network services: contexts, statuses, limits and keys, asked of the code that decides them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from types import MappingProxyType
from typing import Final

from pydicom.pixels import get_decoder
from pydicom.uid import UID, UID_dictionary
from pynetdicom import AE
from reference import table

from dicomseg.implementation import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION
from dicomseg.read.predicates import MR_CLASSES
from node.commitment import PUSH_MODEL
from node.config.destinations import DicomDestination
from node.config.profiles import OBJECT_FILES, PROFILES
from node.deliver.dicom_query import _PENDING, FIND, NO_SUCH_CLASS
from node.deliver.dicomweb import _NOT_OFFERED
from node.deliver.offers import NOTE as OFFERED_NOTE
from node.deliver.offers import Offer, class_title, offers_for
from node.deliver.status import judge_status
from node.deliver.stow import BODY_DECIDES, OBJECT_REFUSED
from node.receive import association, commitment, farewell, limits, step, structure, wire
from node.receive.admission import VERIFICATION, answers, is_storage
from node.receive.wire import Proposed, Request

_UNUSED: Final = b""
_VERDICTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "accepted": "stored; storage is verified afterwards",
        "transient": "sent again after a wait, for `patience_days`",
        "permanent": "not sent again; the delivery is shown as failed with the peer's status and comment",
    }
)


def name_of(uid: str) -> str:
    """Return the name of a UID without the registry's endings."""
    return class_title(uid).removesuffix(" SOP Class")


def storage_classes() -> list[str]:
    """Return every storage class that the registry of this version's dictionary names and the node accepts."""
    return [
        uid for uid, entry in UID_dictionary.items() if entry[1] == "SOP Class" and is_storage(uid)
    ]


def refused_classes() -> list[str]:
    """Return every class of the registry that the node does not accept."""
    named = (uid for uid, entry in UID_dictionary.items() if entry[1] == "SOP Class" and entry[0])
    return [uid for uid in named if not is_storage(uid) and uid not in {VERIFICATION, PUSH_MODEL}]


def negotiate(sop_class: str, *syntaxes: str) -> tuple[int, str]:
    """Return the acceptor's answer to one presentation context: result and transfer syntax."""
    proposed = Proposed(1, sop_class, syntaxes)
    return answers(Request(1, "", "", wire.APPLICATION_CONTEXT, (proposed,), _UNUSED))[1]


def offers() -> dict[Offer, list[str]]:
    """Return every object, class and list of transfer syntaxes that is sent, with the profiles that send it so."""
    found: dict[Offer, list[str]] = {}
    for profile in PROFILES:
        fields = {"name": "x", "ae_title": "X", "host": "x", "port": 104, "withdraw": True}
        for offer in offers_for(DicomDestination(kind="dicom", profile=profile, **fields)):
            found.setdefault(offer, []).append(profile)
    return found


def services() -> str:
    """Render the overview of network services."""
    sent = dict.fromkeys(offer.sop_class for offer in offers())
    rows = [("Verification", VERIFICATION, "yes", "yes"), (name_of(FIND), str(FIND), "yes", "no")]
    rows.append((name_of(PUSH_MODEL), PUSH_MODEL, "yes", "yes"))
    rows += [(name_of(uid), uid, "yes", "yes") for uid in sent]
    rows += [
        (name_of(uid), uid, "yes" if uid in sent else "no", "yes")
        for uid in MR_CLASSES
        if uid not in sent
    ]
    others = len({*storage_classes()} - {*sent, *MR_CLASSES})
    rows.append((f"{others} other storage classes (annex F) and private ones", "", "no", "yes"))
    return table(("SOP class", "UID", "SCU", "SCP"), rows)


def accepted_classes() -> str:
    """Render every storage class that is accepted."""
    rows = []
    for uid in storage_classes():
        retired = " (retired)" if UID(uid).is_retired else ""
        rows.append((name_of(uid).removesuffix(" (Retired)") + retired, uid))
    return table(("SOP class", "UID"), rows)


def accepted_syntaxes() -> str:
    """Render the transfer syntaxes in the order of the acceptor's preference."""
    rows = []
    for rank, syntax in enumerate(wire.TRANSFER_SYNTAXES, start=1):
        readable = not UID(syntax).is_encapsulated or get_decoder(UID(syntax)).is_available
        rows.append((str(rank), name_of(syntax), syntax, "yes" if readable else "no"))
    return table(("preference", "transfer syntax", "UID", "decoded"), rows)


def context_results() -> str:
    """Render the answers to a proposed presentation context, each asked of the acceptor."""
    mr, plain = next(iter(MR_CLASSES)), wire.TRANSFER_SYNTAXES[0]
    private, foreign = "1.3.6.1.4.1.99999.1", "1.3.6.1.4.1.99999.2"
    asked = (
        (
            "any storage class, or Verification, with a transfer syntax of the table above",
            mr,
            plain,
        ),
        ("the same with other transfer syntaxes only, registered or private", mr, foreign),
        ("a class that is not in the registry: private or newer", private, plain),
        (
            "a storage class without a transfer syntax, or with a UID of another kind",
            mr,
            VERIFICATION,
        ),
        ("a registered class that is not a storage class", refused_classes()[0], plain),
    )
    words = {
        0: "0, acceptance",
        3: "3, abstract syntax not supported",
        4: "4, transfer syntaxes not supported",
    }
    rows = [(what, words[negotiate(uid, syntax)[0]]) for what, uid, syntax in asked]
    return table(("proposed", "result (PS3.8 table 9-18)"), rows)


_REJECTIONS: Final = (
    (
        wire.CALLED_UNKNOWN,
        "the called AE title is not the node's, nor in `[receive] called_ae_titles`",
    ),
    (
        wire.CALLING_UNKNOWN,
        "calling AE title, address and certificate are not those of one `[[receive.caller]]`, where there are any",
    ),
    (wire.NO_APPLICATION_CONTEXT, "the application context is not DICOM's"),
    (wire.NO_PROTOCOL_VERSION, "the protocol version has no bit 0"),
    (
        wire.LOCAL_LIMIT,
        "no free association after a wait of {wait:g} s, or disk space below `disk_low_mb` (except for Verification alone)",
    ),
    (
        wire.CONGESTION,
        "more associations from this address than `max_associations_per_minute` (except for Verification alone)",
    ),
)
_RESULTS: Final = {1: "1, permanent", 2: "2, transient"}
_SOURCES: Final = {1: "1, user", 2: "2, provider (ACSE)", 3: "3, provider (presentation)"}


def rejections() -> str:
    """Render why an association is rejected."""
    rows = []
    for (result, source, reason), when in _REJECTIONS:
        rows.append(
            (_RESULTS[result], _SOURCES[source], str(reason), when.format(wait=step.SLOT_S))
        )
    return table(("result", "source", "reason", "when"), rows)


def acceptor_limits() -> str:
    """Render the limits of the acceptor that cannot be configured."""
    rows = [
        ("PDU that is announced (Maximum Length)", f"{wire.MAX_PDU} bytes"),
        ("PDU that is read, also of peers that exceed it", f"{wire.LARGEST_PDU} bytes"),
        ("time to the end of the association request (ARTIM)", f"{association.REQUEST_S:g} s"),
        ("wait of a request for a free association", f"{step.SLOT_S:g} s"),
        (
            "connections without a request: in all, from one address",
            f"{step.STRANGERS}, {step.STRANGERS_PER_PEER}",
        ),
        (
            "time that a slow association keeps its place while others wait",
            f"{limits.PATIENCE_S:g} s",
        ),
        ("time for the peer to close after the last PDU", f"{farewell.LINGER_S:g} s"),
        ("command set", f"{association.LONGEST_COMMAND} bytes"),
        ("nested sequences of an object", f"{structure.DEEPEST}"),
        ("elements of an object", f"{structure.MOST_ELEMENTS}"),
    ]
    return table(("limit", "value"), rows)


def identification() -> str:
    """Render who the node says it is, in associations and files."""
    rows = [
        ("Implementation Class UID", f"`{IMPLEMENTATION_CLASS_UID}`"),
        ("Implementation Version Name", f"`{IMPLEMENTATION_VERSION}`"),
        ("Application Context Name", f"`{wire.APPLICATION_CONTEXT}`"),
        ("Maximum Length as acceptor", f"{wire.MAX_PDU}"),
        ("Maximum Length as initiator", f"{AE().maximum_pdu_size}"),
    ]
    return table(("parameter", "value"), rows)


def sent_contexts() -> str:
    """Render the presentation contexts that are proposed for each object, by profile."""
    rows = []
    for offer, profiles in sorted(offers().items(), key=lambda o: _ORDER.index(o[0].file)):
        syntaxes = "; ".join(f"{name_of(s)} ({s})" for s in offer.syntaxes)
        named = "all" if len(profiles) == len(PROFILES) else ", ".join(f"`{p}`" for p in profiles)
        named += ", with `withdraw = true`" if offer.file == OFFERED_NOTE else ""
        kind = f"{name_of(offer.sop_class)} ({offer.sop_class})"
        rows.append((f"`{offer.file}`", kind, syntaxes, named))
    return table(("object", "SOP class", "transfer syntaxes, a context each", "profiles"), rows)


_ORDER: Final = (*OBJECT_FILES, OFFERED_NOTE)


def _ranges(values: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Consecutive numbers as first and last."""
    for _, run in groupby(enumerate(values), key=lambda pair: pair[1] - pair[0]):
        numbers = [value for _, value in run]
        yield numbers[0], numbers[-1]


def received_statuses() -> str:
    """Render what becomes of an object by the status of its C-STORE response, over all 65,536."""
    found: dict[str, list[int]] = {}
    for status in range(1 << 16):
        found.setdefault(judge_status(status), []).append(status)
    rows = []
    for verdict in ("accepted", "transient"):
        spans = [f"{a:04X}" if a == b else f"{a:04X}–{b:04X}" for a, b in _ranges(found[verdict])]
        rows.append((", ".join(spans), verdict, _VERDICTS[verdict]))
    rows.append(("any other", "permanent", _VERDICTS["permanent"]))
    return table(("status (hexadecimal)", "meaning", "behaviour"), rows)


def returned_statuses() -> str:
    """Render the statuses that the acceptor returns."""
    rows = [
        ("C-STORE, C-ECHO", f"{association.SUCCESS:04X}", "success", "the object is on disk and in the journal, also one that is only quarantined; a repeated object is not stored twice"),
        ("C-STORE", f"{association.OUT_OF_RESOURCES:04X}", "refused: out of resources", "an object above `max_object_mb`, too many unfinished bytes (`max_unfinished_mb`), no disk space, or a fault of the node; Error Comment says which"),
        ("any other request", f"{association.UNRECOGNIZED_OPERATION:04X}", "unrecognised operation", "its data set is read and dropped"),
    ]  # fmt: skip
    return table(("request", "status", "meaning", "when"), rows)


def commitment_statuses() -> str:
    """Render the statuses of storage commitment that the acceptor returns."""
    rows = [
        ("N-ACTION, N-EVENT-REPORT", f"{commitment.SUCCESS:04X}", "success", "the request, or the report, is in the journal"),
        ("N-ACTION", f"{commitment.NO_RESOURCES:04X}", "resource limitation", f"more than {commitment.MOST_BYTES // 1000} kB, or {commitment.MOST_OPEN} requests of this AE title wait for their report"),
        ("N-ACTION, N-EVENT-REPORT", f"{commitment.INVALID_VALUE:04X}", "invalid argument value", f"a data set that cannot be read, invalid UIDs, no reference or more than {commitment.MOST_REFERENCES:,}; a report on a transaction that the node did not begin"),
        ("N-ACTION, N-EVENT-REPORT", f"{commitment.NOT_AUTHORISED:04X}", "not authorised", "a request without calling AE title; a report of another AE title or address than those of the destination that was asked"),
        ("N-ACTION", f"{commitment.NO_SUCH_ACTION:04X}", "no such action", "another Action Type ID than 1"),
        ("N-EVENT-REPORT", f"{commitment.NO_SUCH_EVENT:04X}", "no such event type", "another Event Type ID than 1 and 2"),
        ("N-ACTION, N-EVENT-REPORT", f"{commitment.NO_SUCH_INSTANCE:04X}, {commitment.NO_SUCH_CLASS:04X}", "no such instance, class", "not the well-known instance of the push model"),
        ("N-ACTION, N-EVENT-REPORT", f"{commitment.PROCESSING_FAILURE:04X}", "processing failure", "a fault of the node; ask or report again"),
    ]  # fmt: skip
    return table(("request", "status", "meaning", "when"), rows)


def find_statuses() -> str:
    """Render what is made of the statuses of C-FIND."""
    pending = ", ".join(f"{s:04X}" for s in sorted(_PENDING))
    rows = [
        (pending, "a match", "counted if it names the object"),
        ("0000", "success", "the matches decide: all objects named, or those that are missing"),
        (f"{NO_SUCH_CLASS:04X}", "not supported", "with `proof = \"auto\"` storage commitment is asked for, else storage is shown as *unproven*"),
        ("any other, or no response", "unanswered", "asked again after a wait, for `patience_days`; nothing is sent again for it"),
    ]  # fmt: skip
    return table(("status (hexadecimal)", "meaning", "behaviour"), rows)


def web_statuses() -> str:
    """Render what is made of the HTTP codes of STOW-RS and QIDO-RS."""

    def listed(codes: frozenset[int]) -> str:
        return ", ".join(str(c) for c in sorted(codes))

    rows = [
        ("STOW-RS", listed(BODY_DECIDES), "the body decides for each object: Referenced SOP Sequence is *accepted*; Failure Reason is judged like a C-STORE status; an object that it does not name is sent again"),
        ("STOW-RS", listed(OBJECT_REFUSED), "the objects are sent one by one; one that is refused alone is not sent again"),
        ("STOW-RS", "500, or a connection that ends inside the request", "the objects are sent one by one; one that fails alone is sent again after a wait"),
        ("STOW-RS", "a compressed object that is refused", "sent again at once, uncompressed"),
        ("STOW-RS", "any other, or no response", "sent again after a wait, for `patience_days`"),
        ("QIDO-RS", "200, 204", "the matches decide"),
        ("QIDO-RS", "404", "a study that the server does not have, if `/studies` answers; else as the next row"),
        ("QIDO-RS", listed(_NOT_OFFERED), "not supported: storage is shown as *unproven*"),
        ("QIDO-RS", "any other, or no response", "asked again after a wait, for `patience_days`"),
    ]  # fmt: skip
    return table(("request", "HTTP code", "behaviour"), rows)
