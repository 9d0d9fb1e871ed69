from __future__ import annotations

import base64
from pathlib import Path

import pytest

from node.errors import SecretUnusable
from node.metrics.login import Login


def _basic(text: str) -> str:
    return "Basic " + base64.b64encode(text.encode()).decode()


def _login(tmp_path: Path, secret: str) -> Login:
    (tmp_path / "secret").write_text(secret, encoding="utf-8")
    return Login(str(tmp_path / "secret"))


@pytest.mark.parametrize(
    ("given", "admitted"),
    [
        ("Bearer tok-1", True), ("bearer tok-1", True), ("Bearer tok-2", False), ("Bearer ", False),
        ("", False), ("tok-1", False), (_basic("tok-1"), False), (_basic("Bearer:tok-1"), False),
    ],
)  # fmt: skip
def test_bearer(tmp_path: Path, given: str, admitted: bool) -> None:
    assert _login(tmp_path, "Bearer tok-1\n").admits(given) is admitted


@pytest.mark.parametrize(
    ("given", "admitted"),
    [
        (_basic("prom:pass:word"), True), (_basic("prom:p"), False), (_basic("prom:"), False), ("Basic !!!", False),
        ("Basic /w==", False), ("Bearer prom:pass:word", False), ("prom:pass:word", False), ("", False),
    ],
)  # fmt: skip
def test_user_and_password(tmp_path: Path, given: str, admitted: bool) -> None:
    assert _login(tmp_path, "prom:pass:word\n").admits(given) is admitted


@pytest.mark.parametrize("secret", ["", "\n", "Bearer ", "Bearer", "word", ":", "user:", ":pass", "a:b\nc:d"])  # fmt: skip
def test_file_without_a_secret_admits_none(tmp_path: Path, secret: str) -> None:
    for given in (
        "",
        "Bearer ",
        "Bearer",
        _basic(""),
        _basic(":"),
        _basic("user:"),
        _basic("word"),
    ):
        with pytest.raises(SecretUnusable):
            _login(tmp_path, secret).admits(given)


def test_missing_file_is_named_and_a_new_secret_counts_at_once(tmp_path: Path) -> None:
    with pytest.raises(SecretUnusable, match=r"nothing: No such file"):
        Login(str(tmp_path / "nothing")).admits("Bearer x")
    login = _login(tmp_path, "Bearer one")
    assert login.admits("Bearer one")
    _login(tmp_path, "Bearer two")
    assert not login.admits("Bearer one")
