from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from node.config.destinations import DicomDestination, DicomwebDestination
from node.config.receive import ReceiveConfig
from node.config.sections import Config, NodeConfig
from node.config.tls import TlsConfig
from node.errors import TlsError
from node.events import CertificateEnds, CertificatesRefused, CertificatesRenewed, Event
from node.tls.credentials import LOOK_S, REMIND_S, Credentials, roles
from tests.support.certificates import Authority, Pair, needs_openssl
from tests.support.clock import Clock

pytestmark = [pytest.mark.process, needs_openssl]


@pytest.fixture
def config(authority: Authority, issued: Callable[[str], Pair], tmp_path: Path) -> TlsConfig:
    """Files of its own for one test."""
    given = authority.config(issued("node"))
    keys = ("certificate", "private_key", "trusted")
    for key in keys:
        (tmp_path / key).write_bytes(Path(getattr(given, key)).read_bytes())
        (tmp_path / key).chmod(0o600)
    return TlsConfig(**{key: str(tmp_path / key) for key in keys})


def _put(config: TlsConfig, pair: Pair) -> None:
    Path(config.certificate).write_bytes(pair.certificate.read_bytes())
    Path(config.private_key).write_bytes(pair.key.read_bytes())


def test_changed_files_make_new_contexts(
    config: TlsConfig, issued: Callable[[str], Pair], clock: Clock
) -> None:
    events: list[Event] = []
    credentials = Credentials(config, events.append, clock.wall, clock.monotonic)
    first = credentials.context("mutual")
    assert credentials.run_once() == 0
    _put(config, issued("renewed"))
    assert credentials.run_once() == 0  # it has looked just now
    clock.pass_s(LOOK_S)
    assert credentials.run_once() == 1
    assert credentials.context("mutual") is not first
    assert events == [CertificatesRenewed(("mutual",))]
    clock.pass_s(LOOK_S)
    assert credentials.run_once() == 0


def test_broken_files_keep_the_context_and_are_reported_once(
    config: TlsConfig, issued: Callable[[str], Pair], clock: Clock
) -> None:
    events: list[Event] = []
    credentials = Credentials(config, events.append, clock.wall, clock.monotonic)
    first = credentials.context("mutual")
    Path(config.certificate).write_bytes(issued("renewed").certificate.read_bytes())
    for _ in range(3):
        clock.pass_s(LOOK_S)
        assert credentials.run_once() == 0
    assert credentials.context("mutual") is first
    (refused,) = events
    assert isinstance(refused, CertificatesRefused)
    assert "does not belong to certificate" in refused.reason
    Path(config.private_key).write_bytes(issued("renewed").key.read_bytes())
    clock.pass_s(LOOK_S)
    assert credentials.run_once() == 1
    assert credentials.context("mutual") is not first


def test_missing_file_keeps_the_context(config: TlsConfig, clock: Clock) -> None:
    credentials = Credentials(config, wall=clock.wall, now=clock.monotonic)
    first = credentials.context("dicom")
    Path(config.trusted).unlink()
    assert not credentials.reread()
    assert credentials.context("dicom") is first


def test_certificate_that_ends_is_remembered_once_a_day(
    config: TlsConfig, authority: Authority, clock: Clock
) -> None:
    _put(config, authority.issue("short", days=10))
    events: list[Event] = []
    now = Path(config.certificate).stat().st_mtime
    credentials = Credentials(config, events.append, lambda: now, clock.monotonic)
    credentials.context("server")
    for _ in range(3):
        clock.pass_s(REMIND_S / 2)
        credentials.run_once()
    assert events == [CertificateEnds(config.certificate, 9)] * 2


def test_context_that_cannot_be_made_is_refused_before_the_start(config: TlsConfig) -> None:
    Path(config.private_key).chmod(0o644)
    with pytest.raises(TlsError, match="chmod 600"):
        Credentials(config).prepare(["server"])


def test_roles_are_those_in_use() -> None:
    dicom = DicomDestination(name="a", kind="dicom", ae_title="A", host="h", port=1, tls=True)
    plain = DicomDestination(name="b", kind="dicom", ae_title="A", host="h", port=1)
    web = DicomwebDestination(name="c", kind="dicomweb", url="https://h/x")
    tls = TlsConfig(certificate="c", private_key="k", trusted="t")

    def needed(*destinations: object, **receive: object) -> tuple[str, ...]:
        node = NodeConfig(ae_title="N", destination=destinations)  # type: ignore[arg-type]
        return roles(Config(node=node, receive=ReceiveConfig(**receive), tls=tls))  # type: ignore[arg-type]

    assert needed(plain) == ()
    assert needed(plain, tls="mutual") == ("mutual",)
    assert needed(dicom, dicom.model_copy(update={"name": "d"}), web) == ("dicom", "https")


def test_a_new_revocation_list_is_taken_without_a_restart(tmp_path: Path, clock: Clock) -> None:
    authority = Authority.make(tmp_path / "ca")
    node, gone = authority.issue("node"), authority.issue("gone")
    listed = authority.revocation_list()
    config = authority.config(node).model_copy(update={"revoked": str(listed)})
    credentials = Credentials(config, wall=clock.wall, now=clock.monotonic)
    before = credentials.context("mutual")
    authority.revocation_list(gone)
    clock.pass_s(LOOK_S)
    assert credentials.run_once() == 1
    assert credentials.context("mutual") is not before
