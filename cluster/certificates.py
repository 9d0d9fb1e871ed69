"""Certificates of both ends of a connection: whether each file can be used, in one line, and the TLS profile.

The profile is BCP 195 (PS3.15 B.12): TLS 1.2 or later, forward secrecy, AES-GCM.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

CIPHERS: Final = "ECDHE+AESGCM"
"""Suites of TLS 1.2 that RFC 9325 section 4.2 recommends; those of TLS 1.3 are all allowed."""
OLDEST: Final = ssl.TLSVersion.TLSv1_2
_BLOCK: Final = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_KEY: Final = "PRIVATE KEY-----"
_ENCRYPTED: Final = ("ENCRYPTED PRIVATE KEY", "Proc-Type: 4,ENCRYPTED")
_FOR_OTHERS: Final = 0o007


class PemUnusable(ValueError):
    """A file cannot be used; the message names key, file and remedy."""


@dataclass(frozen=True, slots=True)
class Files:
    """PEM files of this machine's certificate and its key, and of the authorities it trusts."""

    certificate: Path
    private_key: Path
    trusted: Sequence[Path]


def text_of(path: Path, key: str) -> str:
    """Return the text of a PEM file. Raises `PemUnusable`."""
    try:
        return path.read_text(encoding="latin-1")
    except OSError as error:
        raise PemUnusable(
            f"{key}: {path}: {error.strerror}; correct the path or its permissions"
        ) from error


def blocks(path: Path, key: str) -> tuple[str, ...]:
    """Return the PEM certificates of a file, without the text around them. Raises `PemUnusable` if there is none."""
    found = tuple(_BLOCK.findall(text_of(path, key)))
    if not found:
        raise PemUnusable(f"{key}: {path}: no PEM certificate in it; give one")
    return found


def check_pair(certificate: Path, key: Path) -> None:
    """Check the files of a certificate and its private key. Raises `PemUnusable`."""
    blocks(certificate, "certificate")
    content = text_of(key, "private_key")
    if _KEY not in content:
        raise PemUnusable(f"private_key: {key}: no PEM private key in it; give one")
    if any(sign in content for sign in _ENCRYPTED):
        raise PemUnusable(
            f"private_key: {key}: is encrypted, which a service cannot open; remove the passphrase"
            " (openssl pkey), and keep it at mode 600"
        )
    if key.stat().st_mode & _FOR_OTHERS:
        raise PemUnusable(
            f"private_key: {key}: is open to every user of this machine; chmod 600 {key}"
        )


def bounded(context: ssl.SSLContext) -> ssl.SSLContext:
    """Keep a context to the profile."""
    context.minimum_version = OLDEST
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    return context


def load_pair(context: ssl.SSLContext, certificate: Path, key: Path) -> None:
    """Give a context its certificate. Raises `PemUnusable`."""
    check_pair(certificate, key)
    try:
        context.load_cert_chain(certificate, key, password=_no_password)
    except ssl.SSLError as error:
        raise PemUnusable(_pair_fault(certificate, key, error)) from error
    except OSError as error:
        raise PemUnusable(
            f"certificate: {certificate} or {key}: {error.strerror}; correct it"
        ) from error


def load_trusted(context: ssl.SSLContext, files: Sequence[Path]) -> None:
    """Give a context its authorities. Raises `PemUnusable`."""
    for path in files:
        try:
            context.load_verify_locations(cadata="\n".join(blocks(path, "trusted")))
        except PemUnusable:
            raise
        except (ssl.SSLError, ValueError) as error:
            raise PemUnusable(
                f"trusted: {path}: a certificate in it is damaged; replace it"
            ) from error


def _pair_fault(certificate: Path, key: Path, error: ssl.SSLError) -> str:
    if error.reason == "KEY_VALUES_MISMATCH":
        return f"private_key: {key} does not belong to certificate {certificate}; give the pair"
    reason = (error.reason or "unreadable").replace("_", " ").lower()
    return f"certificate: {certificate} with {key}: {reason}; give another pair"


def _no_password() -> str:
    """Answer OpenSSL, which would ask on the terminal."""
    return ""
