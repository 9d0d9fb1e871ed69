"""What every destination promises: the three kinds and the fake run the same tests."""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import httpx
import pytest
from pydicom.dataset import Dataset
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    ComprehensiveSRStorage,
    SegmentationStorage,
)

from node.config.destinations import DicomDestination
from node.config.profiles import OBJECT_FILES
from node.deliver.dicom import Pacs
from node.deliver.dicomweb import DicomwebServer
from node.deliver.folder import Folder
from node.deliver.memory import InMemory
from node.deliver.offers import NOTE, offers_for, syntax_title
from node.deliver.port import Destination, ResultFile
from node.deliver.status import judge_status
from node.errors import PeerUnreachable
from node.free_ports import free_ports
from tests.support.parcels import FILES, SERIES, STUDY, UIDS, files_of, write_result
from tests.support.peers import Peer, pacs, web


@pytest.fixture
def files(tmp_path: Path) -> tuple[ResultFile, ...]:
    folder = tmp_path / "results" / "0123456789abcdef"
    folder.mkdir(parents=True)
    write_result(folder / "seg.dcm", SegmentationStorage, UIDS["seg.dcm"])
    write_result(folder / "measurements.dcm", ComprehensiveSRStorage, UIDS["measurements.dcm"])
    return files_of(folder, FILES)


Made = Callable[..., Destination]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Destination]]:
    """Make a destination of a kind over a peer; servers end with the test."""
    with ExitStack() as stack:

        def _make(kind: str, peer: Peer, *, query: bool = True) -> Destination:
            if kind == "folder":
                return Folder("folder", tmp_path / "out")
            if kind == "dicom":
                port = stack.enter_context(pacs(peer, query=query))
                return Pacs("pacs", "PACS", "127.0.0.1", port, "NODE", 5.0)
            if kind == "dicomweb":
                return DicomwebServer("web", stack.enter_context(web(peer, query=query)), 5.0)
            return InMemory("memory", offers_query=query)

        yield _make


KINDS = ("folder", "dicom", "dicomweb", "memory")


@pytest.mark.parametrize("kind", KINDS)
class TestDestination:
    def test_sends_and_proves_every_file(
        self, kind: str, make: Made, files: tuple[ResultFile, ...]
    ) -> None:
        destination = make(kind, Peer())
        outcomes = destination.send(files)
        assert [(o.file, o.disposition) for o in outcomes] == [(f, "accepted") for f in FILES]
        assert destination.verify_stored(files).value == "stored"

    def test_sending_twice_is_harmless(
        self, kind: str, make: Made, files: tuple[ResultFile, ...]
    ) -> None:
        destination = make(kind, Peer())
        destination.send(files)
        assert {o.disposition for o in destination.send(files)} == {"accepted"}
        assert destination.verify_stored(files).value == "stored"

    def test_proves_nothing_that_was_not_sent(
        self, kind: str, make: Made, files: tuple[ResultFile, ...]
    ) -> None:
        assert make(kind, Peer()).verify_stored(files).value == "missing"

    def test_half_a_result_is_no_proof(
        self, kind: str, make: Made, files: tuple[ResultFile, ...]
    ) -> None:
        destination = make(kind, Peer())
        destination.send(files[:1])
        proof = destination.verify_stored(files)
        assert proof.value == "missing"
        assert "measurements.dcm" in proof.text

    def test_proof_names_exactly_what_is_missing(
        self, kind: str, make: Made, files: tuple[ResultFile, ...]
    ) -> None:
        destination = make(kind, Peer())
        destination.send(files[1:])
        assert destination.verify_stored(files).missing == ("seg.dcm",)

    def test_says_who_answers(self, kind: str, make: Made) -> None:
        assert make(kind, Peer()).echo()


@pytest.mark.parametrize("kind", ["dicom", "dicomweb"])
class TestServers:
    @pytest.mark.parametrize(
        ("status", "answer"),
        [
            (0xA700, "transient"),
            (0xC000, "permanent"),
            (0xA900, "permanent"),
            (0x0110, "transient"),
        ],
    )
    def test_answers_per_object(
        self, kind: str, status: int, answer: str, make: Made, files: tuple[ResultFile, ...]
    ) -> None:
        destination = make(kind, Peer(refuse={UIDS["measurements.dcm"]: status}))
        outcomes = destination.send(files)
        assert [o.disposition for o in outcomes] == ["accepted", answer]
        assert outcomes[1].status == f"0x{status:04X}"

    def test_mixed_answers_are_told_apart(
        self, kind: str, make: Made, files: tuple[ResultFile, ...]
    ) -> None:
        refuse = {UIDS["seg.dcm"]: 0xA700, UIDS["measurements.dcm"]: 0xC000}
        outcomes = make(kind, Peer(refuse=refuse)).send(files)
        assert [o.disposition for o in outcomes] == ["transient", "permanent"]

    def test_an_object_that_ends_everything_is_in_the_way_of_no_other(
        self, kind: str, make: Made, files: tuple[ResultFile, ...]
    ) -> None:
        peer = Peer(ends={UIDS["seg.dcm"]})
        outcomes = make(kind, peer).send(files)
        assert [o.disposition == "accepted" for o in outcomes] == [False, True]
        assert list(peer.held) == [UIDS["measurements.dcm"]]

    def test_what_answers_is_probed_as_answering(self, kind: str, make: Made) -> None:
        assert make(kind, Peer()).probe() is True

    def test_a_peer_without_query_answers_probes(self, kind: str, make: Made) -> None:
        assert make(kind, Peer(), query=False).probe() is True

    def test_sends_the_very_bytes_of_the_data_set(
        self, kind: str, make: Made, files: tuple[ResultFile, ...]
    ) -> None:
        peer = Peer()
        make(kind, peer).send(files)
        raw = files[0].path.read_bytes()
        assert raw.endswith(peer.held[UIDS["seg.dcm"]][-200:])

    @pytest.mark.parametrize("related", [True, False])
    def test_counts_the_objects_of_a_series(
        self, kind: str, related: bool, make: Made, files: tuple[ResultFile, ...]
    ) -> None:
        peer = Peer(related=related)
        destination = make(kind, peer)
        assert destination.count(STUDY, SERIES) == 0
        destination.send(files)
        assert destination.count(STUDY, SERIES) == 2

    def test_a_peer_without_query_cannot_count(self, kind: str, make: Made) -> None:
        assert make(kind, Peer(), query=False).count(STUDY, SERIES) is None

    def test_a_peer_without_query_offers_no_proof(
        self, kind: str, make: Made, files: tuple[ResultFile, ...]
    ) -> None:
        destination = make(kind, Peer(), query=False)
        destination.send(files)
        assert destination.verify_stored(files).value == "unsupported"


def test_a_peer_that_closes_after_each_object_gets_all_in_one_round(
    make: Made, files: tuple[ResultFile, ...]
) -> None:
    peer = Peer(most=1)
    outcomes = make("dicom", peer).send(files)
    assert [o.disposition for o in outcomes] == ["accepted", "accepted"]
    assert set(peer.held) == set(UIDS.values())


@pytest.mark.parametrize("bad", FILES)
def test_a_server_that_cuts_the_connection_at_one_object_gets_the_others(
    make: Made, files: tuple[ResultFile, ...], bad: str
) -> None:
    peer = Peer(cuts={UIDS[bad]})
    outcomes = make("dicomweb", peer).send(files)
    assert {o.file: o.disposition for o in outcomes} == {
        name: "transient" if name == bad else "accepted" for name in FILES
    }


@pytest.mark.parametrize(
    ("code", "responds"), [(404, True), (401, True), (500, True), (503, False)]
)
def test_a_gateway_without_its_server_does_not_respond(
    make: Made, code: int, responds: bool
) -> None:
    assert make("dicomweb", Peer(code=code)).probe() is responds


def test_a_folder_responds_when_it_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    assert Folder("folder", tmp_path / "out").probe()
    assert not Folder("folder", tmp_path / "file").probe()


def test_a_folder_that_is_away_is_unreachable_and_a_full_one_is_not(
    files: tuple[ResultFile, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    statuses = []
    for number in (errno.ESTALE, errno.ENOSPC):

        def fails(*_: object, fault: int = number) -> None:
            raise OSError(fault, "no")

        monkeypatch.setattr("node.deliver.folder.publish", fails)
        statuses.append(Folder("folder", tmp_path / "out").send(files)[0].status)
    assert statuses == ["no folder", ""]


QUERY_FAULTS: list[tuple[str, dict[str, Any]]] = [
    ("dicom", {"find": 0xA700}),
    ("dicom", {"find": 0xC001}),
    ("dicom", {"find": 0xA900}),
    ("dicom", {"find": 0xFE00}),
    ("dicomweb", {"code": 503}),
    ("dicomweb", {"code": 500}),
    ("dicomweb", {"code": 401}),
    ("dicomweb", {"code": 302}),
    ("dicomweb", {"code": 202}),
    ("dicomweb", {"body": b"<html>maintenance</html>"}),
    ("dicomweb", {"body": b'{"message": "busy"}'}),
    ("dicomweb", {"body": b"[1, 2]"}),
]


@pytest.mark.parametrize(("kind", "fault"), QUERY_FAULTS)
def test_a_query_that_fails_proves_nothing_and_denies_nothing(
    kind: str, fault: dict[str, Any], make: Made, files: tuple[ResultFile, ...]
) -> None:
    peer = Peer(**fault)
    destination = make(kind, peer)
    destination.send(files)
    proof = destination.verify_stored(files)
    assert (proof.value, proof.missing) == ("unknown", ())
    assert "answers" in proof.text
    assert destination.count(STUDY, SERIES) is None
    peer.find, peer.code, peer.body = 0x0000, 200, None
    assert destination.verify_stored(files).value == "stored"


def test_a_match_that_names_no_object_is_no_proof(
    make: Made, files: tuple[ResultFile, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    destination = make("dicom", Peer())
    destination.send(files)
    monkeypatch.setattr("node.deliver.dicom_query.find", lambda *_: [Dataset()])
    assert destination.verify_stored(files).value == "unknown"


def test_a_peer_that_says_it_answers_no_such_query_offers_no_proof(
    make: Made, files: tuple[ResultFile, ...]
) -> None:
    destination = make("dicom", Peer(find=0x0122))
    destination.send(files)
    assert destination.verify_stored(files).value == "unsupported"


@pytest.mark.parametrize(
    ("codes", "value"),
    [
        ({"instances": 404, "studies": 200}, "missing"),
        ({"instances": 404, "studies": 404}, "unsupported"),
        ({"instances": 405, "studies": 405}, "unsupported"),
        ({"instances": 204, "studies": 204}, "missing"),
        ({"instances": 404, "studies": 503}, "unknown"),
    ],
)
def test_not_found_is_told_apart_from_a_service_that_is_not_there(
    codes: dict[str, int],
    value: str,
    files: tuple[ResultFile, ...],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def answer(request: httpx.Request) -> httpx.Response:
        return httpx.Response(codes[request.url.path.rsplit("/", 1)[1]], json=[])

    server = DicomwebServer("web", "http://pacs.invalid/dicom-web", 1.0)
    client = httpx.Client(transport=httpx.MockTransport(answer))
    monkeypatch.setattr(DicomwebServer, "client", lambda _: client)
    assert server.verify_stored(files[:1]).value == value


# pynetdicom drops the socket of a refused connection without closing it.
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", ["dicom", "dicomweb"])
def test_nobody_there_is_transient_and_says_what_to_check(
    kind: str, files: tuple[ResultFile, ...]
) -> None:
    (port,) = free_ports()
    destination: Destination = (
        Pacs("pacs", "PACS", "127.0.0.1", port, "NODE", 2.0)
        if kind == "dicom"
        else DicomwebServer("web", f"http://127.0.0.1:{port}/dicom-web", 2.0)
    )
    outcomes = destination.send(files)
    assert {o.disposition for o in outcomes} == {"transient"}
    assert str(port) in outcomes[0].text
    assert "check that it is running" in outcomes[0].text
    assert destination.verify_stored(files).value == "unknown"
    assert destination.count(STUDY, SERIES) is None
    assert destination.probe() is False
    with pytest.raises(PeerUnreachable, match="check") as refused:
        destination.echo()
    assert refused.value.exit_code == 5


def test_wrong_called_title_is_named(files: tuple[ResultFile, ...]) -> None:
    with pacs(Peer()) as port:
        destination = Pacs("pacs", "OTHER", "127.0.0.1", port, "NODE", 5.0)
        text = destination.send(files)[0].text
    assert (
        f"OTHER@127.0.0.1:{port} rejected calling AE title NODE: called AE title not recognised"
        in text
    )


def test_port_that_speaks_no_dicom_is_named_as_such(files: tuple[ResultFile, ...]) -> None:
    with web(Peer()) as url:
        port = urlparse(url).port or 0
        outcome = Pacs("pacs", "PACS", "127.0.0.1", port, "NODE", 2.0).send(files)[0]
    assert (outcome.disposition, outcome.status) == ("transient", "no association")
    assert "accepts the connection but does not answer the association request" in outcome.text


def test_class_that_the_peer_does_not_take_is_permanent(tmp_path: Path) -> None:
    folder = tmp_path / "abc"
    folder.mkdir()
    write_result(folder / "seg.dcm", SegmentationStorage, "2.25.11")
    write_result(folder / "volumes.dcm", "1.2.840.10008.5.1.4.1.1.88.34", "2.25.13")
    with pacs(Peer()) as port:
        destination = Pacs("pacs", "PACS", "127.0.0.1", port, "NODE", 5.0)
        outcomes = destination.send(files_of(folder, ("seg.dcm", "volumes.dcm")))
    assert [o.disposition for o in outcomes] == ["accepted", "permanent"]
    name = "Comprehensive 3D SR Storage (1.2.840.10008.5.1.4.1.1.88.34)"
    assert outcomes[1].text == (
        f"PACS@127.0.0.1:{port} does not accept SOP class {name}; "
        'enable Comprehensive 3D SR Storage on the PACS, or choose profile = "images-only"'
    )


def test_asking_a_peer_says_of_every_object_whether_it_is_taken() -> None:
    with pacs(Peer()) as port:
        some = DicomDestination(
            name="pacs", kind="dicom", ae_title="PACS", host="127.0.0.1", port=port, withdraw=True
        )
        answer = Pacs.of(some, "NODE").echo(offers_for(some))
    assert answer.text == f"PACS@127.0.0.1:{port} answers C-ECHO"
    said = {o.offer.file: (o.value, syntax_title(o.syntax)) for o in answer.objects}
    assert said.pop("seg.dcm") == ("accepted", "explicit")
    assert set(said) == {*OBJECT_FILES, NOTE} - {"seg.dcm"}
    assert {value for value, _ in said.values()} == {"refused"}
    remedies = {o.offer.file: o.remedy for o in answer.objects}
    assert remedies["seg.dcm"] == ""
    assert remedies["surface.dcm"] == (
        "enable Encapsulated STL Storage on the PACS, or leave surface.dcm out of objects"
    )
    assert remedies[NOTE].endswith("or set withdraw = false")


@pytest.mark.serial
def test_peer_that_gives_no_answer_is_not_asked_for_every_object(
    files: tuple[ResultFile, ...],
) -> None:
    peer = Peer(slow_s=2.5)
    with pacs(peer) as port:
        began_s = time.monotonic()
        outcomes = Pacs("pacs", "PACS", "127.0.0.1", port, "NODE", 1.0).send(files)
        assert time.monotonic() - began_s < 2.4
    assert [(o.disposition, o.status) for o in outcomes] == [("transient", "no answer")] * 2


def test_query_without_an_answer_in_time_proves_nothing(files: tuple[ResultFile, ...]) -> None:
    peer = Peer()
    with pacs(peer) as port:
        destination = Pacs("pacs", "PACS", "127.0.0.1", port, "NODE", 1.0)
        destination.send(files)
        peer.silent_s = 2.5
        assert destination.verify_stored(files).value == "unknown"
        assert destination.count(STUDY, SERIES) is None


def test_refusal_names_the_peer_the_answer_and_its_meaning(files: tuple[ResultFile, ...]) -> None:
    with pacs(Peer(refuse={UIDS["seg.dcm"]: 0xA700})) as port:
        outcome = Pacs("pacs", "PACS", "127.0.0.1", port, "NODE", 5.0).send(files)[0]
    reason = f"PACS@127.0.0.1:{port} answers C-STORE with 0xA700, refused: Out of Resources"
    assert outcome.text.startswith(reason)
    assert outcome.text.endswith("look into its log")


@pytest.mark.parametrize(
    ("status", "answer"),
    [
        (0x0000, "accepted"),
        (0xB000, "accepted"),
        (0xB007, "accepted"),
        (0x0111, "accepted"),
        (0xA700, "transient"),
        (0xA701, "transient"),
        (0x0110, "transient"),
        (0xA900, "permanent"),
        (0xC211, "permanent"),
        (0x0122, "permanent"),
        (0x0124, "permanent"),
    ],
)
def test_store_status(status: int, answer: str) -> None:
    assert judge_status(status) == answer
