"""Who may use the console: names, roles and Argon2id hashes, in one file of the state folder."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

from node.durable import private_folder, replace_durably
from node.errors import UsersRefused

SHORTEST: Final = 12
"""Characters of a password (NIST SP 800-63B asks for 8; there is no second factor here)."""
LONGEST: Final = 256
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


class Role(StrEnum):
    """What a person is, and so may do."""

    VIEWER = "viewer"
    PHYSICIAN = "physician"
    OPERATOR = "operator"

    @property
    def sees_patients(self) -> bool:
        """Whether values, pictures, patient ids and accession numbers are shown."""
        return self is not Role.VIEWER

    @property
    def opens_viewer(self) -> bool:
        """Whether the viewer opens: not for who acts, since what runs in it would act for them."""
        return self is Role.PHYSICIAN

    @property
    def reviews(self) -> bool:
        """Whether results may be confirmed and rejected."""
        return self is Role.PHYSICIAN

    @property
    def acts(self) -> bool:
        """Whether retries, deliveries, withdrawals and tests of destinations may be asked for."""
        return self is Role.OPERATOR


MEANINGS: Final[Mapping[Role, str]] = MappingProxyType(
    {
        Role.VIEWER: "states, counts and reasons, nothing of a patient",
        Role.PHYSICIAN: "also values, pictures, patient ids and the viewer; confirms and rejects results",
        Role.OPERATOR: "sees as a physician without the viewer; also retries, delivers again, withdraws, tests destinations",
    }
)


@dataclass(frozen=True, slots=True)
class User:
    """One person. hash: of the password in the PHC format, "" for a person whom a proxy names."""

    name: str
    role: Role
    hash: str = ""


def check_name(name: str) -> str:
    """Return a name that may be used.

    Raises:
        UsersRefused: it holds other signs than letters, digits and . _ @ -
    """
    if not _NAME.fullmatch(name):
        raise UsersRefused(
            "a user's name has 1 to 64 letters, digits, dots, hyphens, underscores or @; choose another"
        )
    return name


def hash_password(password: str) -> str:
    """Return the hash of a password.

    Raises:
        UsersRefused: it is too short or too long.
    """
    if not SHORTEST <= len(password) <= LONGEST:
        raise UsersRefused(f"a password has {SHORTEST} to {LONGEST} characters; choose another")
    from argon2 import PasswordHasher  # noqa: PLC0415 - lists and removals do without it

    return PasswordHasher().hash(password)


def is_password(known: str, password: str) -> bool:
    """Return whether a password has this hash; of "" too it takes the time of a comparison."""
    from argon2 import PasswordHasher  # noqa: PLC0415 - a proxy's users have no password
    from argon2.exceptions import InvalidHashError, VerificationError  # noqa: PLC0415

    hasher = PasswordHasher()
    if not known:
        hasher.hash(password)  # who asks must not see by the time whether the name is known
        return False
    try:
        return hasher.verify(known, password)
    except (VerificationError, InvalidHashError):
        return False


# ---- the file ------------------------------------------------------------------------------------


@dataclass(slots=True)
class Users:
    """The users of a file, read again when it has changed; a file that is not there has none."""

    path: Path
    _signature: tuple[int, int, int] = (0, 0, 0)
    _known: dict[str, User] = field(default_factory=dict)

    def get(self, name: str) -> User | None:
        """Return a user, None where there is no such name. Raises `UsersRefused`."""
        self._read()
        return self._known.get(name)

    def all(self) -> list[User]:
        """Return all users by name. Raises `UsersRefused`."""
        self._read()
        return sorted(self._known.values(), key=lambda user: user.name)

    def put(self, user: User) -> None:
        """Add a user, or change one of this name. Raises `UsersRefused`, OSError."""
        self._read()
        self._write([*(u for u in self._known.values() if u.name != user.name), user])

    def remove(self, name: str) -> None:
        """Remove a user. Raises `UsersRefused` where there is none of this name, OSError."""
        self._read()
        if name not in self._known:
            raise UsersRefused(f'no user "{name}"; `lumbar-node users list` shows who there is')
        self._write(u for u in self._known.values() if u.name != name)

    def _read(self) -> None:
        try:
            found = self.path.stat()
        except FileNotFoundError:
            self._signature, self._known = (0, 0, 0), {}
            return
        signature = (found.st_mtime_ns, found.st_ino, found.st_size)
        if signature == self._signature:
            return
        try:
            content = json.loads(self.path.read_text("utf-8"))
            users = [_user(entry) for entry in content["users"]]
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsersRefused(
                f"{self.path}: not a list of users ({type(error).__name__});"
                " remove it and add the users again with `lumbar-node users add`"
            ) from error
        self._known = {user.name: user for user in users}
        self._signature = signature

    def _write(self, users: Iterable[User]) -> None:
        private_folder(self.path.parent)
        entries = [
            {"name": u.name, "role": u.role.value, "hash": u.hash}
            for u in sorted(users, key=lambda user: user.name)
        ]
        replace_durably(self.path, json.dumps({"users": entries}, indent=1).encode("ascii") + b"\n")
        self.path.chmod(0o600)


def _user(entry: Mapping[str, Any]) -> User:
    return User(check_name(str(entry["name"])), Role(entry["role"]), str(entry["hash"]))
