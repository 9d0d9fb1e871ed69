"""When certificates end: read from their DER encoding (RFC 5280 section 4.1)."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from node.config.tls import TlsConfig
from node.errors import TlsError
from node.tls.files import blocks, trusted_files

WARN_DAYS: Final = 30
"""Days before its end at which a certificate needs attention: a hospital's authority takes weeks."""
DAY_S: Final = 86_400.0
RENEW: Final = "replace the file, the node reads it without a restart"

_VERSION, _UTC_TIME = 0xA0, 0x17


@dataclass(frozen=True, slots=True)
class Ending:
    """The certificate of a file that ends first. key: of `[tls]`. ends_at: seconds since 1970."""

    key: str
    path: Path
    ends_at: float

    def days(self, now: float) -> int:
        """Return the full days left, negative when it has ended."""
        return int((self.ends_at - now) // DAY_S)

    def when(self, now: float) -> str:
        """Return when it ends, in words."""
        date = datetime.fromtimestamp(self.ends_at, UTC).date().isoformat()
        if self.ends_at <= now:
            return f"ended on {date}"
        return f"ends on {date}, in {self.days(now)} days"

    def line(self, now: float) -> str:
        """Return one line: which file, when, and what to do."""
        return f"[tls] {self.key}: {self.path} {self.when(now)}; {RENEW}"


def endings(config: TlsConfig) -> tuple[Ending, ...]:
    """Return when the certificates of every configured file end; those of files that cannot be read are left out."""
    files = [("certificate", Path(config.certificate))] if config.identified else []
    with suppress(TlsError):
        files += [("trusted", path) for path in (trusted_files(config) if config.trusted else ())]
    found = []
    for key, path in files:
        ends = list(_ends(path, key))
        if ends:
            found.append(Ending(key, path, min(ends)))
    return tuple(found)


def ending_soon(config: TlsConfig, now: float) -> tuple[Ending, ...]:
    """Return the certificates that end within `WARN_DAYS`, or have ended."""
    return tuple(e for e in endings(config) if e.days(now) < WARN_DAYS)


def _ends(path: Path, key: str) -> Iterator[float]:
    try:
        found = blocks(path, key)
    except TlsError:
        return
    for block in found:
        with suppress(ValueError, IndexError):
            yield not_after(ssl.PEM_cert_to_DER_cert(block))


def not_after(der: bytes) -> float:
    """Return the end of a certificate's validity, in seconds since 1970. Raises ValueError or IndexError."""
    _, at, _ = _element(der, 0)  # Certificate
    _, at, _ = _element(der, at)  # TBSCertificate
    tag, _, end = _element(der, at)
    if tag == _VERSION:
        at = end
    for _ in ("serialNumber", "signature", "issuer"):
        _, _, at = _element(der, at)
    _, at, _ = _element(der, at)  # Validity
    _, _, at = _element(der, at)  # notBefore
    tag, at, end = _element(der, at)
    text = der[at:end].decode("ascii")
    if tag == _UTC_TIME:  # two digits of the year; 50 and more are of the last century
        text = ("19" if text >= "5" else "20") + text
    return datetime.strptime(text, "%Y%m%d%H%M%SZ").replace(tzinfo=UTC).timestamp()


def _element(der: bytes, at: int) -> tuple[int, int, int]:
    """Return tag, begin and end of the value of the element at an offset."""
    tag, length, at = der[at], der[at + 1], at + 2
    if length & 0x80:
        count = length & 0x7F
        length, at = int.from_bytes(der[at : at + count], "big"), at + count
    return tag, at, at + length
