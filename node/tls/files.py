"""PEM files of `[tls]`: whether each can be used, in one line, before OpenSSL is asked."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

from node.config.secret_files import secret_path
from node.config.tls import TlsConfig
from node.errors import TlsError

_BLOCK: Final = re.compile(r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_KEY: Final = "PRIVATE KEY-----"
_ENCRYPTED: Final = ("ENCRYPTED PRIVATE KEY", "Proc-Type: 4,ENCRYPTED")
_FOR_OTHERS: Final = 0o007
_SUFFIXES: Final = frozenset({".pem", ".crt"})

Signature = tuple[tuple[str, int, int, int], ...]
"""Path, inode, size and time of change of every file: another one means other content."""


def key_path(config: TlsConfig) -> Path:
    """Return the file of the private key. Raises `SecretUnusable`: a credential outside of the service."""
    return secret_path(config.private_key)


def check_pair(config: TlsConfig) -> None:
    """Check the files of the node's certificate and private key. Raises `TlsError`."""
    certificate, key = Path(config.certificate), key_path(config)
    blocks(certificate, "certificate")
    content = _text(key, "private_key")
    if _KEY not in content:
        raise TlsError(f"[tls] private_key: {key}: no PEM private key in it; give one")
    if any(sign in content for sign in _ENCRYPTED):
        raise TlsError(
            f"[tls] private_key: {key}: is encrypted, which a service cannot open; remove the passphrase"
            " (openssl pkey), and keep it at mode 600"
        )
    if key.stat().st_mode & _FOR_OTHERS:
        raise TlsError(
            f"[tls] private_key: {key}: is open to every user of this machine; chmod 600 {key}"
        )


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
    found = tuple(_BLOCK.findall(_text(path, key)))
    if not found:
        raise TlsError(f"[tls] {key}: {path}: no PEM certificate in it; give one")
    return found


def signature(config: TlsConfig) -> Signature:
    """Return what changes with any of the files; one that is missing counts, too."""
    try:
        trusted = trusted_files(config) if config.trusted else ()
    except TlsError:
        trusted = ()
    pair = (Path(config.certificate), key_path(config)) if config.identified else ()
    return tuple(_state(path) for path in (*pair, *trusted))


def _state(path: Path) -> tuple[str, int, int, int]:
    try:
        found = path.stat()
    except OSError:
        return str(path), 0, 0, 0
    return str(path), found.st_ino, found.st_size, found.st_mtime_ns


def _text(path: Path, key: str) -> str:
    try:
        return path.read_text(encoding="latin-1")
    except OSError as error:
        raise TlsError(
            f"[tls] {key}: {path}: {error.strerror}; correct the path or its permissions"
        ) from error
