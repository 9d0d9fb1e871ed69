from __future__ import annotations

import ssl
import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from node.config.tls import TlsConfig
from node.tls.expiry import DAY_S, ending_soon, endings, not_after
from tests.support.certificates import Authority, Pair, needs_openssl

pytestmark = [pytest.mark.process, needs_openssl]


def _end(path: Path) -> float:
    """The end of a certificate as openssl prints it."""
    asked = ["openssl", "x509", "-in", str(path), "-noout", "-enddate"]
    printed = subprocess.run(asked, check=True, capture_output=True, text=True).stdout
    return ssl.cert_time_to_seconds(printed.strip().removeprefix("notAfter="))


@pytest.mark.parametrize("days", [-1, 365, 36_500])  # 100 years on, a GeneralizedTime
def test_end_is_that_which_openssl_reads(authority: Authority, days: int) -> None:
    path = authority.issue(f"ends{days}", days=days).certificate
    assert not_after(ssl.PEM_cert_to_DER_cert(path.read_text())) == _end(path)


def test_earliest_end_of_a_file_counts(
    authority: Authority, issued: Callable[[str], Pair], tmp_path: Path
) -> None:
    node, short = issued("node").certificate, authority.issue("short", days=3).certificate
    both = tmp_path / "both.pem"
    both.write_text(node.read_text() + short.read_text())
    config = TlsConfig(certificate=str(both), private_key="k", trusted=str(authority.certificate))
    found = {e.key: e.ends_at for e in endings(config)}
    assert found == {"certificate": _end(short), "trusted": _end(authority.certificate)}


@pytest.mark.parametrize("days", [1, 7, 9_200])  # after 2049, a GeneralizedTime
def test_end_of_a_revocation_list_is_that_which_openssl_reads(tmp_path: Path, days: int) -> None:
    authority = Authority.make(tmp_path / "ca")
    listed = authority.revocation_list(seconds=days * 86_400)
    asked = ["openssl", "crl", "-in", str(listed), "-noout", "-nextupdate"]
    printed = subprocess.run(asked, check=True, capture_output=True, text=True).stdout
    end = ssl.cert_time_to_seconds(printed.strip().removeprefix("nextUpdate="))
    config = TlsConfig(trusted=str(authority.certificate), revoked=str(listed))
    assert {e.key: e.ends_at for e in endings(config)}["revoked"] == end
    assert [e.key for e in ending_soon(config, end - 0.5 * DAY_S) if e.key == "revoked"]
    assert not [e.key for e in ending_soon(config, end - 2.5 * DAY_S) if e.key == "revoked"]


def test_line_says_which_file_and_when(authority: Authority) -> None:
    path = authority.issue("short", days=3).certificate
    config = TlsConfig(certificate=str(path), private_key="k", trusted=str(authority.certificate))
    ends_at = _end(path)
    date = datetime.fromtimestamp(ends_at, UTC).date()
    (ending,) = ending_soon(config, ends_at - 1.5 * DAY_S)
    assert f"{path} ends on {date}, in 1 days" in ending.line(ends_at - 1.5 * DAY_S)
    assert f"{path} ended on {date}" in ending.line(ends_at + 5)
    assert ending_soon(config, ends_at - 31 * DAY_S) == ()


@pytest.mark.parametrize(
    "content", [b"", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----"]
)
def test_unreadable_certificates_are_left_out(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.pem"
    path.write_bytes(content)
    assert (
        endings(TlsConfig(certificate=str(path), private_key="k", trusted=str(tmp_path / "no")))
        == ()
    )
