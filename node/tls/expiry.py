"""When certificates and revocation lists end: read from their DER encoding (RFC 5280 sections 4.1 and 5.1)."""

from __future__ import annotations

import ssl
from base64 import b64decode
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from node.config.tls import TlsConfig
from node.errors import TlsError
from node.tls.files import blocks, revocation_lists, trusted_files

WARN_DAYS: Final = 30
"""Days before its end at which a certificate needs attention: a hospital's authority takes weeks."""
WARN_LIST_DAYS: Final = 1
"""The same of a revocation list, which an authority renews every week or day."""
DAY_S: Final = 86_400.0
RENEW: Final = "replace the file, the node reads it without a restart"

_VERSION, _INTEGER, _UTC_TIME, _GENERALIZED_TIME = 0xA0, 0x02, 0x17, 0x18


@dataclass(frozen=True, slots=True)
class Ending:
    """The certificate or revocation list of a file that ends first. key: of `[tls]`. ends_at: seconds since 1970."""

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
    """Return when certificates and revocation lists of every configured file end; those of files that cannot be read are left out."""
    files = [("certificate", Path(config.certificate))] if config.identified else []
    with suppress(TlsError):
        files += [("trusted", path) for path in (trusted_files(config) if config.trusted else ())]
    found = []
    for key, path in files:
        ends = list(_ends(path, key))
        if ends:
            found.append(Ending(key, path, min(ends)))
    if config.revoked:
        lists = list(_list_ends(config))
        found += [Ending("revoked", Path(config.revoked), min(lists))] if lists else []
    return tuple(found)


def ending_soon(config: TlsConfig, now: float) -> tuple[Ending, ...]:
    """Return the files of which something ends within `WARN_DAYS` (lists: `WARN_LIST_DAYS`), or has ended."""
    return tuple(
        e
        for e in endings(config)
        if e.days(now) < (WARN_LIST_DAYS if e.key == "revoked" else WARN_DAYS)
    )


def _ends(path: Path, key: str) -> Iterator[float]:
    try:
        found = blocks(path, key)
    except TlsError:
        return
    for block in found:
        with suppress(ValueError, IndexError):
            yield not_after(ssl.PEM_cert_to_DER_cert(block))


def _list_ends(config: TlsConfig) -> Iterator[float]:
    with suppress(TlsError):
        for block in revocation_lists(config):
            with suppress(ValueError, IndexError):
                yield next_update(b64decode("".join(block.splitlines()[1:-1])))


def next_update(der: bytes) -> float:
    """Return when a revocation list ends (RFC 5280 section 5.1), in seconds since 1970. Raises ValueError or IndexError."""
    _, at, _ = _element(der, 0)  # CertificateList
    _, at, _ = _element(der, at)  # TBSCertList
    tag, _, end = _element(der, at)
    if tag == _INTEGER:  # version
        at = end
    for _ in ("signature", "issuer", "thisUpdate"):
        _, _, at = _element(der, at)
    return _time(der, at)


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
    return _time(der, at)


def _time(der: bytes, at: int) -> float:
    tag, at, end = _element(der, at)
    if tag not in {_UTC_TIME, _GENERALIZED_TIME}:
        raise ValueError("no time")
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
