"""Destinations by TLS: a PACS, a DICOMweb server, and Orthanc."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from pynetdicom.sop_class import (  # type: ignore[attr-defined]
    ComprehensiveSRStorage,
    SegmentationStorage,
)

from node.config.destinations import DestinationConfig, DicomDestination, DicomwebDestination
from node.config.tls import TlsConfig
from node.deliver.factory import build
from node.deliver.port import Destination, ResultFile
from node.demo import servers
from node.errors import PeerUnreachable
from node.free_ports import free_ports
from node.tls.contexts import server_context
from node.tls.credentials import Credentials
from tests.support.certificates import Authority, Pair, needs_openssl
from tests.support.parcels import FILES, SERIES, STUDY, UIDS, files_of, write_result
from tests.support.peers import Peer, pacs, web

pytestmark = [pytest.mark.servers, needs_openssl]

Issue = Callable[[str], Pair]
KINDS = ("dicom", "dicomweb")


@pytest.fixture
def files(tmp_path: Path) -> tuple[ResultFile, ...]:
    folder = tmp_path / "results" / "0123456789abcdef"
    folder.mkdir(parents=True)
    write_result(folder / "seg.dcm", SegmentationStorage, UIDS["seg.dcm"])
    write_result(folder / "measurements.dcm", ComprehensiveSRStorage, UIDS["measurements.dcm"])
    return files_of(folder, FILES)


def _destination(kind: str, port: int, tls: TlsConfig, *, host: str = "127.0.0.1") -> Destination:
    config: DestinationConfig
    if kind == "dicom":
        config = DicomDestination(
            name="pacs", kind="dicom", ae_title="PACS", host=host, port=port, tls=True,
            timeout_seconds=5.0,
        )  # fmt: skip
    else:
        config = DicomwebDestination(
            name="web", kind="dicomweb", url=f"https://{host}:{port}/dicom-web", timeout_seconds=5.0
        )
    return build(config, "NODE", Credentials(tls))


@pytest.fixture
def start(authority: Authority, issued: Issue) -> Iterator[Callable[..., int]]:
    """Start a peer of a kind that wants the node's certificate; returns its port."""
    with ExitStack() as stack:

        def _start(kind: str, peer: Peer, pair: Pair | None = None) -> int:
            config = authority.config(pair or issued("pacs"))
            context = server_context(config, mutual=True)
            if kind == "dicom":
                return stack.enter_context(pacs(peer, context=context))
            return int(stack.enter_context(web(peer, context=context)).split(":")[2].split("/")[0])

        yield _start


@pytest.mark.parametrize("kind", KINDS)
class TestByTls:
    def test_sends_proves_counts_and_answers(
        self, kind: str, start: Callable[..., int], authority: Authority, issued: Issue,
        files: tuple[ResultFile, ...],
    ) -> None:  # fmt: skip
        destination = _destination(kind, start(kind, Peer()), authority.config(issued("node")))
        assert [o.disposition for o in destination.send(files)] == ["accepted"] * len(FILES)
        assert destination.verify_stored(files).value == "stored"
        assert destination.count(STUDY, SERIES) == len(FILES)
        text = destination.echo().text
        assert "over TLSv1.3" in text if kind == "dicom" else "https://" in text

    def test_wrong_host_name_is_refused(
        self, kind: str, start: Callable[..., int], authority: Authority, issued: Issue,
        files: tuple[ResultFile, ...],
    ) -> None:  # fmt: skip
        peer, pair = (
            Peer(),
            authority.issue(f"elsewhere-{kind}", alternatives="DNS:elsewhere.example"),
        )
        destination = _destination(kind, start(kind, peer, pair), authority.config(issued("node")))
        (first, *_) = destination.send(files)
        assert first.disposition == "transient"
        assert "its certificate is refused: ip address mismatch" in first.text
        with pytest.raises(PeerUnreachable, match="agree on no TLS connection"):
            destination.echo()
        assert peer.held == {}

    def test_unknown_authority_is_refused(
        self, kind: str, start: Callable[..., int], authority: Authority,
        stranger_authority: Authority, issued: Issue, files: tuple[ResultFile, ...],
    ) -> None:  # fmt: skip
        tls = authority.config(issued("node")).model_copy(
            update={"trusted": str(stranger_authority.certificate)}
        )
        peer = Peer()
        (first, *_) = _destination(kind, start(kind, peer), tls).send(files)
        assert first.disposition == "transient"
        assert "self-signed certificate in certificate chain" in first.text
        assert peer.held == {}

    def test_peer_that_wants_a_certificate_says_so(
        self, kind: str, start: Callable[..., int], authority: Authority,
        files: tuple[ResultFile, ...],
    ) -> None:  # fmt: skip
        tls = TlsConfig(trusted=str(authority.certificate))
        (first, *_) = _destination(kind, start(kind, Peer()), tls).send(files)
        assert first.disposition == "transient"
        assert "set [tls] certificate" in first.text

    def test_peer_without_tls_is_named(
        self, kind: str, authority: Authority, issued: Issue, files: tuple[ResultFile, ...]
    ) -> None:
        peer = Peer()
        with pacs(peer) if kind == "dicom" else web(peer) as server:
            port = server if isinstance(server, int) else int(server.split(":")[2].split("/")[0])
            (first, *_) = _destination(kind, port, authority.config(issued("node"))).send(files)
        assert first.disposition == "transient"
        assert "TLS" in first.text
        assert peer.held == {}

    def test_peer_that_is_away_is_not_a_matter_of_tls(
        self, kind: str, authority: Authority, issued: Issue, files: tuple[ResultFile, ...]
    ) -> None:
        (port,) = free_ports()
        (first, *_) = _destination(kind, port, authority.config(issued("node"))).send(files)
        assert "does not respond" in first.text


def test_destination_with_tls_is_never_made_without() -> None:
    config = DicomDestination(name="a", kind="dicom", ae_title="A", host="h", port=1, tls=True)
    with pytest.raises(ValueError, match="credentials"):
        build(config, "NODE")


def test_orthanc_takes_results_by_tls(
    authority: Authority, issued: Issue, files: tuple[ResultFile, ...], tmp_path: Path
) -> None:
    found = servers.find_orthanc()
    if found is None:
        pytest.skip("needs Orthanc (apt install orthanc-dicomweb)")
    program, plugin = found
    ports = servers.Ports(*free_ports(4))
    (tmp_path / "db").mkdir()
    pair = issued("pacs")
    settings = servers.orthanc_settings(tmp_path, ports, plugin) | {
        "DicomTlsEnabled": True,
        "DicomTlsCertificate": str(pair.certificate),
        "DicomTlsPrivateKey": str(pair.key),
        "DicomTlsTrustedCertificates": str(authority.certificate),
        "DicomTlsRemoteCertificateRequired": True,
    }
    (tmp_path / "orthanc.json").write_text(json.dumps(settings))
    running = servers.start(
        "Orthanc", [program, str(tmp_path / "orthanc.json")], tmp_path / "orthanc.log",
        lambda: servers.answers(f"{ports.pacs_url}/system"), env=servers.dcmtk_environment(),
    )  # fmt: skip
    config = DicomDestination(
        name="pacs", kind="dicom", ae_title=servers.PACS_AET, host="127.0.0.1",
        port=ports.pacs_dicom, tls=True,
    )  # fmt: skip
    try:
        orthanc = build(config, servers.NODE_AET, Credentials(authority.config(issued("node"))))
        assert "over TLSv1" in orthanc.echo().text
        assert {o.disposition for o in orthanc.send(files)} == {"accepted"}
        assert orthanc.verify_stored(files).value == "stored"
        plain = build(config.model_copy(update={"tls": False}), servers.NODE_AET)
        with pytest.raises(PeerUnreachable):
            plain.echo()
    finally:
        servers.stop(running)
