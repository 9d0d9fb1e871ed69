"""The index of the search by patient id and accession number: keyed digests, so that the journal says neither.

The key is a file of its own beside the journal. Who has the journal alone can neither read a patient id in it nor try
whether one is there.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from node.durable import hand_over, private_folder, sync_bytes, sync_folder
from node.journal.identities import IdentityRow, Unread
from node.journal.journal import Journal
from node.observe.identity import Identity, read_identity

KEY_BYTES: Final = 32
DIGEST_BYTES: Final = 16
"""Two of a thousand million different values are the same with a probability below 10⁻²⁰."""
AT_ONCE: Final = 50
"""Headers of one round: 500 in a second, so that a first start on a large state leaves the disk to the reception."""
_DAY: Final = re.compile(r"(?:19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])")


@dataclass(frozen=True, slots=True)
class IdentityKey:
    """The key of the digests."""

    secret: bytes = field(repr=False)

    @classmethod
    def read(cls, path: Path) -> IdentityKey | None:
        """Return the key of a node; None where there is none, or it cannot be read."""
        try:
            with path.open("rb") as file:
                content = file.read(KEY_BYTES + 1)
        except OSError:
            return None
        return cls(content) if len(content) == KEY_BYTES else None

    @classmethod
    def made(cls, path: Path) -> IdentityKey:
        """Return the key of a node, made where there is none. Raises OSError."""
        found = cls.read(path)
        if found is not None:
            return found
        private_folder(path.parent)
        path.unlink(missing_ok=True)  # one that was cut off
        handle = os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600)
        with os.fdopen(handle, "wb") as file:
            made = cls(secrets.token_bytes(KEY_BYTES))
            file.write(made.secret)
            file.flush()
            sync_bytes(handle)
        hand_over(path)
        sync_folder(path.parent)
        return made

    @property
    def fingerprint(self) -> bytes:
        """What tells one key from another, and nothing of it."""
        return self._digest("key", "")

    def patient(self, value: str) -> bytes:
        """Return the digest of a patient id."""
        return self._digest("patient", value)

    def accession(self, value: str) -> bytes:
        """Return the digest of an accession number: another one than that of the same text as a patient id."""
        return self._digest("accession", value)

    def row(self, one: Unread, said: Identity) -> IdentityRow:
        """Return what the journal keeps of a header."""
        return IdentityRow(
            one.series_id,
            one.seen,
            self.patient(said.patient_id) if said.patient_id else None,
            self.accession(said.accession_number) if said.accession_number else None,
            said.study_date if _DAY.fullmatch(said.study_date) else None,
        )

    def _digest(self, kind: str, value: str) -> bytes:
        text = f"{kind}\0{value}".encode("utf-8", "surrogatepass")
        return hmac.new(self.secret, text, hashlib.sha256).digest()[:DIGEST_BYTES]


@dataclass(slots=True)
class IndexStep:
    """Reads the headers of new and changed series, and those that were there before the index."""

    journal: Journal
    path: Path
    _key: IdentityKey | None = None

    def run_once(self) -> int:
        """Read a few headers. Returns 0: what is left waits for the next round."""
        if self._key is None:
            key = IdentityKey.made(self.path)
            self.journal.identities.use(key.fingerprint)
            self._key = key
        found = self.journal.identities.unread(AT_ONCE)
        if found:
            files = self.journal.overview.sample_files([one.series_id for one in found])
            rows = [self._key.row(one, _said(files.get(one.series_id))) for one in found]
            self.journal.identities.write(rows)
        return 0


def _said(file: Path | None) -> Identity:
    return Identity() if file is None else read_identity(file)
