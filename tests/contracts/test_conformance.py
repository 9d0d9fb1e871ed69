"""docs/conformance.md against the running node: what it says of contexts, statuses and identification is negotiated."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import MRImageStorage, UID_dictionary
from pynetdicom import AE, evt
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from node.commitment import PUSH_MODEL
from node.config.destinations import DicomDestination
from node.config.profiles import PROFILES
from node.deliver.dicom import Pacs
from node.deliver.offers import offers_for
from tests.support.listening import callers
from tests.support.parcels import FILES, UIDS, files_of, write_result
from tests.support.paths import ROOT
from tests.support.raw_peer import RawPeer

STATEMENT = (ROOT / "docs" / "conformance.md").read_text(encoding="utf-8")
MOST_CONTEXTS = 128
"""Presentation contexts of one association (PS3.8 section 9.3.2.2: odd ids up to 255)."""

C_FIND_RQ, C_ECHO_RQ = 0x0020, 0x0030
UID = re.compile(r"\d+(?:\.\d+)+")


def rows(part: str) -> list[list[str]]:
    """Cells of a generated table of the statement."""
    begin, end = f"<!-- begin conformance-{part} -->\n", f"<!-- end conformance-{part} -->"
    text = STATEMENT.split(begin, 1)[1].split(end, 1)[0]
    return [
        [cell.strip() for cell in line.strip("| ").split(" | ")] for line in text.splitlines()[2:]
    ]


def uids(part: str, column: int) -> list[str]:
    return [row[column].strip("`") for row in rows(part)]


SYNTAXES = uids("syntaxes", 2)
CLASSES = uids("classes", 1)
MISSING = [
    uid
    for uid, entry in UID_dictionary.items()
    if entry[1] == "SOP Class" and entry[0] and uid not in {*CLASSES, Verification, PUSH_MODEL}
]


@dataclass
class Accepted:
    """An A-ASSOCIATE-AC: (result, transfer syntax) by context id, and the items of the user information."""

    contexts: dict[int, tuple[int, str]] = field(default_factory=dict)
    user: dict[int, bytes] = field(default_factory=dict)


def items(body: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(body):
        kind, length = struct.unpack_from(">BxH", body, at)
        yield kind, body[at + 4 : at + 4 + length]
        at += 4 + length


def accepted(body: bytes) -> Accepted:
    out = Accepted()
    for kind, value in items(body[68:]):
        if kind == 0x21:
            syntaxes = [v.decode() for k, v in items(value[4:]) if k == 0x40]
            out.contexts[value[0]] = (value[2], syntaxes[0])
        elif kind == 0x50:
            out.user = dict(items(value))
    return out


Negotiate = Callable[..., list[tuple[int, str]]]


@pytest.fixture
def negotiate(listen: Any) -> Negotiate:
    """Answers of the running acceptor to contexts, as many associations as they need."""
    port = listen().port

    def ask(*contexts: tuple[str, tuple[str, ...]]) -> list[tuple[int, str]]:
        answers: list[tuple[int, str]] = []
        for at in range(0, len(contexts), MOST_CONTEXTS):
            part = contexts[at : at + MOST_CONTEXTS]
            with RawPeer(port) as peer:
                kind, body = peer.send(peer.request(*part)).read()
                assert kind == 2
                found = accepted(body).contexts
                answers += [found[2 * n + 1] for n in range(len(part))]
        return answers

    return ask


# ---- the acceptor ----


def test_every_class_of_the_statement_is_accepted_and_no_other(negotiate: Negotiate) -> None:
    assert len(CLASSES) > 150
    assert len(MISSING) > 50
    wanted = [(uid, (SYNTAXES[0],)) for uid in (*CLASSES, Verification)]
    assert set(negotiate(*wanted)) == {(0, SYNTAXES[0])}
    refused = negotiate(*((uid, (SYNTAXES[0],)) for uid in MISSING))
    assert {result for result, _ in refused} == {3}


def test_every_syntax_is_accepted_and_the_first_of_several_is_chosen(negotiate: Negotiate) -> None:
    assert len(SYNTAXES) == 13
    alone = negotiate(*((MRImageStorage, (syntax,)) for syntax in SYNTAXES))
    assert alone == [(0, syntax) for syntax in SYNTAXES]
    for n in range(len(SYNTAXES)):
        backwards = tuple(reversed(SYNTAXES[n:]))
        assert negotiate((MRImageStorage, backwards)) == [(0, SYNTAXES[n])]


def test_other_proposals_get_the_results_of_the_table(negotiate: Negotiate) -> None:
    htj2k, private = "1.2.840.10008.1.2.4.201", "1.3.6.1.4.1.99999.2"
    asked = [
        [(MRImageStorage, (SYNTAXES[-1],))],
        [(MRImageStorage, (htj2k,)), (MRImageStorage, (private,))],
        [("1.3.6.1.4.1.99999.1", (SYNTAXES[0],))],
        [(MRImageStorage, ()), (MRImageStorage, (Verification,))],
        [(MISSING[0], (SYNTAXES[0],))],
    ]
    for contexts, row in zip(asked, rows("contexts"), strict=True):
        stated = int(row[1].split(",")[0])
        assert {result for result, _ in negotiate(*contexts)} == {stated}, row


def test_an_association_without_any_service_is_established_and_told_in_the_log(listen: Any) -> None:
    node = listen()
    with RawPeer(node.port) as peer:
        kind, body = peer.send(peer.request((MISSING[0], (SYNTAXES[0],)))).read()
        assert (kind, accepted(body).contexts[1][0]) == (2, 3)
    assert "none of the services" in node.wait_for("AssociationEnded")[0]["reason"]


def _rejected(body: bytes) -> list[str]:
    """Numbers of the statement's row: result, source, reason."""
    return [str(number) for number in body[1:4]]


def _stated_rejections() -> dict[str, list[str]]:
    return {
        row[3]: [row[0].split(",")[0], row[1].split(",")[0], row[2]] for row in rows("rejections")
    }


@pytest.mark.parametrize(
    ("words", "change"),
    [
        ("called AE title", lambda raw: raw.replace(b"NODE".ljust(16), b"OTHER".ljust(16))),
        ("calling AE title", lambda raw: raw.replace(b"RAW".ljust(16), b"STRANGER".ljust(16))),
        ("application context", lambda raw: raw.replace(b".3.1.1.1", b".3.1.1.9")),
        ("protocol version", lambda raw: raw[:6] + b"\0\2" + raw[8:]),
    ],
)
def test_rejections_have_the_numbers_of_the_table(
    listen: Any, words: str, change: Callable[[bytes], bytes]
) -> None:
    (stated,) = (v for k, v in _stated_rejections().items() if words in k)
    with RawPeer(listen(caller=callers("RAW")).port) as peer:
        kind, body = peer.send(change(peer.request())).read()
    assert (kind, _rejected(body)) == (3, stated)


def test_a_full_disk_rejects_all_but_verification(listen: Any) -> None:
    (stated,) = (v for k, v in _stated_rejections().items() if "disk space" in k)
    port = listen(disk_low_mb=2, disk_high_mb=3, free=lambda: 1_000_000).port
    with RawPeer(port) as peer:
        kind, body = peer.send(peer.request()).read()
        assert (kind, _rejected(body)) == (3, stated)
    with RawPeer(port) as peer:
        peer.associate((Verification, (SYNTAXES[0],)))
        echo = peer.command(C_ECHO_RQ, sop_class=Verification, data=False)
        assert peer.send(peer.fragment(3, echo)).status() == 0


def test_too_many_associations_are_rejected_by_the_table(listen: Any) -> None:
    (stated,) = (v for k, v in _stated_rejections().items() if "per_minute" in k)
    port = listen(max_associations_per_minute=1).port
    with RawPeer(port) as peer:
        peer.associate()
    with RawPeer(port) as peer:
        kind, body = peer.send(peer.request()).read()
    assert (kind, _rejected(body)) == (3, stated)


def test_statuses_are_those_of_the_table(listen: Any) -> None:
    stated = {(row[0], row[1]) for row in rows("returned-statuses")}
    port = listen(max_object_mb=1).port
    with RawPeer(port) as peer:
        peer.associate()
        assert peer.store(b"no data set at all", "1.2.3") == 0x0000
        assert peer.store(bytes(1_500_000), "1.2.4") == 0xA700
        find = peer.command(C_FIND_RQ, sop_class=MRImageStorage)
        peer.send(peer.fragment(3, find)).send(peer.fragment(2, b"ab"))
        assert peer.status() == 0x0211
    assert stated == {
        ("C-STORE, C-ECHO", "0000"),
        ("C-STORE", "A700"),
        ("any other request", "0211"),
    }


def test_identification_is_sent_and_no_extension_is_answered(listen: Any) -> None:
    stated = {row[0]: row[1].strip("`") for row in rows("identification")}
    roles = struct.pack(">H", len(MRImageStorage)) + MRImageStorage.encode() + b"\1\1"
    extensions = b"".join(
        struct.pack(">BxH", kind, len(value)) + value
        for kind, value in ((0x53, b"\0\4\0\4"), (0x54, roles), (0x58, b"\1\0\0\2me\0\0"))
    )
    with RawPeer(listen().port) as peer:
        kind, body = peer.send(_with_user_items(peer.request(), extensions)).read()
    answer = accepted(body)
    assert kind == 2
    assert set(answer.user) == {0x51, 0x52, 0x55}
    assert int.from_bytes(answer.user[0x51], "big") == int(stated["Maximum Length as acceptor"])
    assert answer.user[0x52].decode() == stated["Implementation Class UID"]
    assert answer.user[0x55].decode() == stated["Implementation Version Name"]


def _with_user_items(request: bytes, more: bytes) -> bytes:
    """Add sub-items to the user information, which is the last item of a request."""
    at = request.rindex(b"\x50\x00" + struct.pack(">H", len(request) - _user_at(request) - 4))
    length = int.from_bytes(request[at + 2 : at + 4], "big") + len(more)
    user = request[at : at + 2] + struct.pack(">H", length) + request[at + 4 :] + more
    body = request[6:at] + user
    return struct.pack(">BxI", 1, len(body)) + body


def _user_at(request: bytes) -> int:
    at = 74
    while request[at] != 0x50:
        at += 4 + int.from_bytes(request[at + 2 : at + 4], "big")
    return at


# ---- the initiator ----


SENT = [
    (row[0].strip("`"), UID.findall(row[1])[0], UID.findall(row[2]), row[3]) for row in rows("sent")
]


def stated(profile: str) -> list[tuple[str, list[str]]]:
    """Contexts that the statement gives for a profile, once each, in its order."""
    found = {
        (sop_class, syntax): None
        for _, sop_class, syntaxes, profiles in SENT
        if profile in profiles or "all" in profiles
        for syntax in syntaxes
    }
    return [(sop_class, [syntax]) for sop_class, syntax in found]


@contextmanager
def archive(seen: list[Any]) -> Iterator[int]:
    """A storage SCP that remembers who asked for what."""
    ae = AE("PACS")
    for _, sop_class, syntaxes, _ in SENT:
        ae.add_supported_context(sop_class, syntaxes)
    ae.add_supported_context(Verification)
    handlers = [
        (evt.EVT_ACCEPTED, lambda event: seen.append(event.assoc.requestor)),
        (evt.EVT_C_STORE, lambda _: 0x0000),
    ]
    server = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers)
    assert server is not None
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


def destination_of(profile: str, port: int) -> DicomDestination:
    section = {
        "name": "pacs",
        "kind": "dicom",
        "ae_title": "PACS",
        "host": "127.0.0.1",
        "port": port,
    }
    return DicomDestination.model_validate(section | {"profile": profile, "withdraw": True})


def proposed(peer: Any) -> list[tuple[str, list[str]]]:
    return [(str(c.abstract_syntax), list(c.transfer_syntax)) for c in peer.requested_contexts]


@pytest.mark.parametrize("profile", PROFILES)
def test_the_initiator_proposes_the_contexts_of_the_profile(profile: str) -> None:
    seen: list[Any] = []
    with archive(seen) as port:
        config = destination_of(profile, port)
        answer = Pacs.of(config, "NODE").echo(offers_for(config))
    assert {one.value for one in answer.objects} == {"accepted"}
    wanted = stated(profile)
    assert len(wanted) >= 8
    storage = [context for context in proposed(seen[0]) if context[0] != Verification]
    assert sorted(storage) == sorted(wanted)


def test_the_initiator_is_the_same_implementation_and_asks_for_no_extension(tmp_path: Path) -> None:
    expected = {row[0]: row[1].strip("`") for row in rows("identification")}
    sent = stated("dicom-viewer")
    classes = list(dict.fromkeys(sop_class for sop_class, _ in sent))[: len(FILES)]
    for name, sop_class in zip(FILES, classes, strict=True):
        write_result(tmp_path / name, sop_class, UIDS[name])
    seen: list[Any] = []
    with archive(seen) as port:
        outcomes = Pacs.of(destination_of("dicom-viewer", port), "NODE").send(
            files_of(tmp_path, FILES)
        )
    assert [o.disposition for o in outcomes] == ["accepted"] * len(FILES)
    (peer,) = seen
    assert peer.implementation_class_uid == expected["Implementation Class UID"]
    assert peer.implementation_version_name == expected["Implementation Version Name"]
    assert peer.maximum_length == int(expected["Maximum Length as initiator"])
    assert peer.asynchronous_operations == (1, 1)
    assert not peer.role_selection
    assert proposed(peer) == [context for context in sent if context[0] in classes]
