"""A certificate authority for one test run, made with the openssl command."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from node.config.tls import TlsConfig

_KEY = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes")

needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is missing")


@dataclass(frozen=True)
class Pair:
    """A certificate and its private key."""

    certificate: Path
    key: Path


@dataclass(frozen=True)
class Authority:
    """Issues certificates into its folder."""

    folder: Path

    @property
    def certificate(self) -> Path:
        return self.folder / "ca.crt"

    @classmethod
    def make(cls, folder: Path, days: int = 3650) -> Authority:
        folder.mkdir(parents=True, exist_ok=True)
        made = cls(folder)
        _openssl(
            "req", "-x509", *_KEY, "-keyout", folder / "ca.key", "-out", made.certificate,
            "-subj", f"/CN=Test CA {folder.name}", "-days", days,
        )  # fmt: skip
        return made

    def issue(
        self, name: str, *, alternatives: str = "DNS:localhost,IP:127.0.0.1", days: int = 365
    ) -> Pair:
        """Issue a certificate for a common name; one of -1 days has ended."""
        pair = Pair(self.folder / f"{name}.crt", self.folder / f"{name}.key")
        request = self.folder / f"{name}.csr"
        _openssl(
            "req", "-new", *_KEY, "-keyout", pair.key, "-subj", f"/CN={name}",
            "-addext", f"subjectAltName={alternatives}", "-out", request,
        )  # fmt: skip
        _openssl(
            "x509", "-req", "-in", request, "-CA", self.certificate, "-CAkey", self.folder / "ca.key",
            "-CAcreateserial", "-copy_extensions", "copy", "-days", days, "-out", pair.certificate,
        )  # fmt: skip
        return pair

    def revocation_list(self, *revoked: Pair, seconds: int = 30 * 86_400) -> Path:
        """Write a list of these certificates that is in force for some seconds; returns its file."""
        index, number = self.folder / "index.txt", self.folder / "number.txt"
        index.write_text("")
        number.write_text("01\n")
        settings = self.folder / "ca.cnf"
        settings.write_text(
            f"[ca]\ndefault_ca=d\n[d]\ndatabase={index}\ncrlnumber={number}\ndefault_md=sha256\n"
        )
        ca = (
            "ca",
            "-config",
            settings,
            "-cert",
            self.certificate,
            "-keyfile",
            self.folder / "ca.key",
        )
        for pair in revoked:
            _openssl(*ca, "-revoke", pair.certificate)
        made = self.folder / "revoked.pem"
        _openssl(*ca, "-gencrl", "-crlsec", seconds, "-out", made)
        return made

    def config(self, pair: Pair) -> TlsConfig:
        """The section of a node that has this pair and trusts this authority."""
        return TlsConfig(
            certificate=str(pair.certificate),
            private_key=str(pair.key),
            trusted=str(self.certificate),
        )


def _openssl(*arguments: object) -> None:
    subprocess.run(["openssl", *map(str, arguments)], check=True, capture_output=True, timeout=60)


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """The authority that the node and its peers trust."""
    return Authority.make(tmp_path_factory.mktemp("authority") / "site")


@pytest.fixture(scope="session")
def stranger_authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """An authority that no one trusts."""
    return Authority.make(tmp_path_factory.mktemp("authority") / "stranger")


@pytest.fixture(scope="session")
def issued(authority: Authority) -> Callable[[str], Pair]:
    """Return the pair of a name, issued once."""
    pairs: dict[str, Pair] = {}

    def issue(name: str) -> Pair:
        if name not in pairs:
            pairs[name] = authority.issue(name)
        return pairs[name]

    return issue
