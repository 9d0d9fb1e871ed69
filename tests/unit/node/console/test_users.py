from __future__ import annotations

from pathlib import Path

import pytest

from node.console.users import (
    Role,
    User,
    Users,
    check_name,
    hash_password,
    is_password,
)
from node.errors import UsersRefused


def test_users_are_kept_privately_and_read_again_when_changed(tmp_path: Path) -> None:
    users, other = Users(tmp_path / "s" / "users.json"), Users(tmp_path / "s" / "users.json")
    assert users.all() == []
    users.put(User("vera", Role.VIEWER, "h1"))
    assert other.get("vera") == User("vera", Role.VIEWER, "h1")
    users.put(User("olga", Role.OPERATOR, "h2"))
    users.put(User("vera", Role.PHYSICIAN, "h3"))
    assert [(u.name, u.role) for u in other.all()] == [("olga", "operator"), ("vera", "physician")]
    assert users.path.stat().st_mode & 0o777 == 0o600
    other.remove("olga")
    assert users.get("olga") is None
    with pytest.raises(UsersRefused, match="no user"):
        users.remove("olga")


@pytest.mark.parametrize("content", ["", "[]", '{"users": [{"name": "x"}]}', '{"users": [{"name": "a", "role": "king", "hash": ""}]}'])  # fmt: skip
def test_a_broken_file_lets_nobody_in(tmp_path: Path, content: str) -> None:
    path = tmp_path / "users.json"
    path.write_text(content)
    with pytest.raises(UsersRefused, match="not a list of users"):
        Users(path).get("a")


def test_passwords_are_argon2id_with_a_salt() -> None:
    one, two = hash_password("correct horse"), hash_password("correct horse")
    assert one.startswith("$argon2id$")
    assert one != two
    assert is_password(one, "correct horse")
    assert not is_password(one, "correct horsf")
    assert not is_password("", "")
    assert not is_password("no hash", "x")


@pytest.mark.parametrize("password", ["", "eleven char", "x" * 257])
def test_short_and_endless_passwords_are_refused(password: str) -> None:
    with pytest.raises(UsersRefused, match="12 to 256"):
        hash_password(password)


@pytest.mark.parametrize("name", ["", " a", "a b", "a\n", "<b>", "ä", "x" * 65, "../x"])
def test_names_hold_plain_signs(name: str) -> None:
    with pytest.raises(UsersRefused):
        check_name(name)


def test_roles_say_what_they_may() -> None:
    assert [(r.sees_patients, r.acts) for r in Role] == [
        (False, False),
        (True, False),
        (True, True),
    ]
