"""PEM files of `[tls]`: whether each can be used, in one line, before OpenSSL is asked."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from cluster import certificates
from cluster.certificates import PemUnusable
from node.config.secret_files import secret_path
from node.config.tls import TlsConfig
from node.errors import TlsError

_LIST: Final = re.compile(r"-----BEGIN X509 CRL-----.+?-----END X509 CRL-----", re.DOTALL)
_SUFFIXES: Final = frozenset({".pem", ".crt"})

Signature = tuple[tuple[str, int, int, int], ...]
"""Path, inode, size and time of change of every file: another one means other content."""


def key_path(config: TlsConfig) -> Path:
    """Return the file of the private key. Raises `SecretUnusable`: a credential outside of the service."""
    return secret_path(config.private_key)


@contextmanager
def in_words() -> Iterator[None]:
    """Say what is wrong with a file as a fault of the section. Raises `TlsError`."""
    try:
        yield
    except PemUnusable as error:
        raise TlsError(f"[tls] {error}") from error


def trusted_files(config: TlsConfig) -> tuple[Path, ...]:
    """Return the PEM files with trusted authorities. Raises `TlsError` if there is none."""
    path = Path(config.trusted)
    if not path.is_dir():
        return (path,)
    try:
        files = tuple(sorted(p for p in path.iterdir() if p.suffix in _SUFFIXES))
    except OSError as error:
        raise TlsError(f"[tls] trusted: {path}: {error.strerror}; correct it") from error
    if not files:
        raise TlsError(
            f"[tls] trusted: {path}: no *.pem or *.crt file in it; put the authority there"
        )
    return files


def blocks(path: Path, key: str) -> tuple[str, ...]:
    """Return the PEM certificates of a file, without the text around them. Raises `TlsError` if there is none."""
    with in_words():
        return certificates.blocks(path, key)


def revocation_lists(config: TlsConfig) -> tuple[str, ...]:
    """Return the PEM revocation lists of `revoked`. Raises `TlsError` if there is none."""
    path = Path(config.revoked)
    with in_words():
        found = tuple(_LIST.findall(certificates.text_of(path, "revoked")))
    if not found:
        raise TlsError(f"[tls] revoked: {path}: no PEM revocation list (X509 CRL) in it; give one")
    return found


def signature(config: TlsConfig) -> Signature:
    """Return what changes with any of the files; one that is missing counts, too."""
    try:
        trusted = trusted_files(config) if config.trusted else ()
    except TlsError:
        trusted = ()
    pair = (Path(config.certificate), key_path(config)) if config.identified else ()
    revoked = (Path(config.revoked),) if config.revoked else ()
    return tuple(_state(path) for path in (*pair, *trusted, *revoked))


def _state(path: Path) -> tuple[str, int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return str(path), 0, 0, 0
    return str(path), found.st_ino, found.st_size, found.st_mtime_ns
