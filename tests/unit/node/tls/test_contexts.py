from __future__ import annotations

import ssl
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from node.config.tls import TlsConfig
from node.errors import TlsError
from node.tls.contexts import client_context, server_context
from node.tls.faults import handshake_fault
from tests.support.certificates import Authority, Pair, needs_openssl

pytestmark = [pytest.mark.process, needs_openssl]

Issue = Callable[[str], Pair]


def _handshake(
    client: ssl.SSLContext, server: ssl.SSLContext
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    """Shake hands in memory."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [
        client.wrap_bio(to_client, to_server, server_hostname="localhost"),
        server.wrap_bio(to_server, to_client, server_side=True),
    ]
    for end in ends * 3:
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            continue
    return ends[0], ends[1]


def test_both_sides_offer_the_profile_and_nothing_else(authority: Authority, issued: Issue) -> None:
    config = authority.config(issued("node"))
    for context in (server_context(config, mutual=True), client_context(config)):
        assert context.minimum_version == ssl.TLSVersion.TLSv1_2
        assert {c["name"] for c in context.get_ciphers() if c["protocol"] == "TLSv1.2"} == {
            "ECDHE-ECDSA-AES256-GCM-SHA384",
            "ECDHE-RSA-AES256-GCM-SHA384",
            "ECDHE-ECDSA-AES128-GCM-SHA256",
            "ECDHE-RSA-AES128-GCM-SHA256",
        }
        assert context.verify_mode == ssl.CERT_REQUIRED
        assert context.options & ssl.OP_NO_RENEGOTIATION
    assert client_context(config).check_hostname


@pytest.mark.parametrize(
    ("newest", "negotiated"),
    [
        (ssl.TLSVersion.TLSv1_3, ("TLSv1.3", "TLS_AES_256_GCM_SHA384")),
        (ssl.TLSVersion.TLSv1_2, ("TLSv1.2", "ECDHE-ECDSA-AES256-GCM-SHA384")),
    ],
)
def test_what_is_negotiated(
    authority: Authority, issued: Issue, newest: ssl.TLSVersion, negotiated: tuple[str, str]
) -> None:
    config = authority.config(issued("node"))
    client = client_context(config)
    client.maximum_version = newest
    _, server = _handshake(client, server_context(config, mutual=True))
    cipher = server.cipher()
    assert cipher is not None
    assert (server.version(), cipher[0]) == negotiated
    assert dict(p for (p,) in (server.getpeercert() or {})["subject"])["commonName"] == "node"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.TLSv1_1 is deprecated")
@pytest.mark.parametrize("weak", ["old", "cipher"])
def test_older_versions_and_other_suites_are_refused(
    authority: Authority, issued: Issue, weak: str
) -> None:
    config = authority.config(issued("node"))
    client = client_context(config)
    client.maximum_version = ssl.TLSVersion.TLSv1_2
    if weak == "old":
        client.minimum_version = client.maximum_version = ssl.TLSVersion.TLSv1_1
        client.set_ciphers("ALL:@SECLEVEL=0")
    else:
        client.set_ciphers("ECDHE+AES:!AESGCM")
    with pytest.raises(ssl.SSLError, match=r"UNSUPPORTED_PROTOCOL|NO_SHARED_CIPHER"):
        _handshake(client, server_context(config, mutual=True))


def test_folder_of_authorities_is_read_without_hashes(
    authority: Authority, stranger_authority: Authority, issued: Issue, tmp_path: Path
) -> None:
    folder = tmp_path / "trusted"
    folder.mkdir()
    for n, one in enumerate((authority, stranger_authority)):
        text = "# Café\n" + one.certificate.read_text()
        (folder / f"{n}.crt").write_text(text, encoding="utf-8")
    (folder / "README").write_text("no certificate")
    pair = issued("node")
    config = TlsConfig(
        certificate=str(pair.certificate), private_key=str(pair.key), trusted=str(folder)
    )
    assert client_context(config).cert_store_stats()["x509_ca"] == 2


# ---- what is wrong, in one line ------------------------------------------------------------------


def _other_key(config: TlsConfig, authority: Authority, _: Path) -> TlsConfig:
    return config.model_copy(update={"private_key": str(authority.issue("other").key)})


def _open_key(config: TlsConfig, _: Authority, folder: Path) -> TlsConfig:
    key = folder / "open.key"
    key.write_bytes(Path(config.private_key).read_bytes())
    key.chmod(0o644)
    return config.model_copy(update={"private_key": str(key)})


def _encrypted_key(config: TlsConfig, _: Authority, folder: Path) -> TlsConfig:
    key = folder / "encrypted.key"
    made = ["openssl", "pkey", "-in", config.private_key, "-aes256", "-passout", "pass:x", "-out"]
    subprocess.run([*made, str(key)], check=True, capture_output=True)
    return config.model_copy(update={"private_key": str(key)})


def _no_file(key: str) -> Callable[[TlsConfig, Authority, Path], TlsConfig]:
    return lambda config, _, folder: config.model_copy(update={key: str(folder / "none")})


def _no_pem(key: str) -> Callable[[TlsConfig, Authority, Path], TlsConfig]:
    def spoil(config: TlsConfig, _: Authority, folder: Path) -> TlsConfig:
        (folder / "text").write_bytes(b"\xff\xfe no PEM")
        return config.model_copy(update={key: str(folder / "text")})

    return spoil


def _damaged(key: str) -> Callable[[TlsConfig, Authority, Path], TlsConfig]:
    def spoil(config: TlsConfig, _: Authority, folder: Path) -> TlsConfig:
        text = Path(getattr(config, key)).read_text().replace("M", "N", 40)
        (folder / "damaged").write_text(text)
        return config.model_copy(update={key: str(folder / "damaged")})

    return spoil


def _empty_folder(config: TlsConfig, _: Authority, folder: Path) -> TlsConfig:
    return config.model_copy(update={"trusted": str(folder)})


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (_other_key, "does not belong to certificate"),
        (_open_key, "is open to every user of this machine; chmod 600"),
        (_encrypted_key, "is encrypted"),
        (_no_file("certificate"), "[tls] certificate: "),
        (_no_file("private_key"), "none: No such file or directory; correct the path"),
        (_no_file("trusted"), "[tls] trusted: "),
        (_no_pem("certificate"), "no PEM certificate in it"),
        (_no_pem("private_key"), "no PEM private key in it"),
        (_no_pem("trusted"), "no PEM certificate in it"),
        (_damaged("certificate"), "give another pair"),
        (_damaged("trusted"), "a certificate in it is damaged"),
        (_empty_folder, "no *.pem or *.crt file in it"),
    ],
)
def test_a_file_that_cannot_be_used_is_one_line(
    authority: Authority,
    issued: Issue,
    tmp_path: Path,
    spoil: Callable[[TlsConfig, Authority, Path], TlsConfig],
    words: str,
) -> None:
    config = spoil(authority.config(issued("node")), authority, tmp_path)
    with pytest.raises(TlsError) as refused:
        server_context(config, mutual=True)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)
    assert refused.value.exit_code == 2


def test_a_revoked_certificate_is_refused_and_another_one_is_not(
    tmp_path: Path, issued: Issue
) -> None:
    authority = Authority.make(tmp_path / "ca")
    node, good, gone = (authority.issue(n) for n in ("node", "good", "gone"))
    listed = authority.revocation_list(gone)
    config = authority.config(node).model_copy(update={"revoked": str(listed)})
    server = server_context(config, mutual=True)
    _handshake(client_context(authority.config(good)), server)
    with pytest.raises(ssl.SSLCertVerificationError, match="revoked") as refused:
        _handshake(client_context(authority.config(gone)), server)
    assert handshake_fault(refused.value) == "its certificate is refused: certificate revoked"
    with pytest.raises(ssl.SSLCertVerificationError, match="revoked"):
        _handshake(client_context(config), server_context(authority.config(gone), mutual=True))


def test_a_list_that_has_ended_or_is_missing_is_said_in_words(tmp_path: Path) -> None:
    authority, other = Authority.make(tmp_path / "ca"), Authority.make(tmp_path / "other")
    node, peer = authority.issue("node"), authority.issue("peer")
    lists = {
        "has ended": authority.revocation_list(seconds=1),
        "has no list": other.revocation_list(),
    }
    time.sleep(1.1)
    for words, listed in lists.items():
        config = authority.config(node).model_copy(update={"revoked": str(listed)})
        with pytest.raises(ssl.SSLCertVerificationError) as refused:
            _handshake(client_context(authority.config(peer)), server_context(config, mutual=True))
        assert words in handshake_fault(refused.value)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("nothing", "no PEM revocation list"),
        ("-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n", "is damaged"),
    ],
)
def test_a_file_that_is_no_list_is_named(
    authority: Authority, issued: Issue, tmp_path: Path, content: str, words: str
) -> None:
    (tmp_path / "list.pem").write_text(content)
    config = authority.config(issued("node")).model_copy(
        update={"revoked": str(tmp_path / "list.pem")}
    )
    with pytest.raises(TlsError, match=words):
        client_context(config)
