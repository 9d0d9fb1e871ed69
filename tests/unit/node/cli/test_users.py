"""`users`: names, roles and passwords of the console, in the state folder and in the audit trail."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pytest

from node.cli.app import run
from node.console.users import Users, is_password

Call = Callable[..., tuple[int, str, str]]


@pytest.fixture
def call(tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run a command; typed: what is on standard input."""
    config = tmp_path / "config.toml"
    (tmp_path / "state").mkdir()
    config.write_text(f'[node]\nae_title = "NODE"\nstate = "{tmp_path / "state"}"\n')

    def called(*arguments: str, typed: str = "") -> tuple[int, str, str]:
        monkeypatch.setattr("sys.stdin", StringIO(typed))
        code = run(["users", *arguments, "--config", str(config)])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return called


def test_add_change_list_and_remove(call: Call, tmp_path: Path) -> None:
    assert call("list")[1] == "no users; `lumbar-node users add NAME --role operator` adds one\n"
    assert call("add", "olga", "--role", "operator", typed="long enough 1\n")[:2] == (0, "user olga: operator\n")  # fmt: skip
    assert call("add", "anna", "--role", "viewer", "--no-password")[0] == 0
    assert call("list")[1] == "anna  viewer, by the proxy\nolga  operator\n"
    assert call("add", "olga", "--role", "physician", typed="another one 22\n")[0] == 0
    user = Users(tmp_path / "state" / "users.json").get("olga")
    assert user is not None
    assert user.role == "physician"
    assert is_password(user.hash, "another one 22")
    assert json.loads(call("list", "--json")[1])[1] == {"name": "olga", "role": "physician", "password": True}  # fmt: skip
    assert call("remove", "olga")[0] == 0
    trail = "".join(p.read_text() for p in (tmp_path / "state" / "audit").iterdir() if p.is_file())
    assert trail.count('"event":"users_changed"') == 4
    assert "long enough" not in trail


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("add", "olga", "--role", "king"), 'no role "king"'),
        (("add", "a b", "--role", "viewer"), "choose another"),
        (("add", "olga", "--role", "viewer"), "12 to 256 characters"),
        (("remove", "nobody"), 'no user "nobody"'),
    ],
)
def test_what_is_wrong_is_one_line_and_changes_nothing(
    call: Call, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    code, _, err = call(*arguments, typed="short\n")
    assert code == 2
    assert message in err
    assert not (tmp_path / "state" / "users.json").exists()
