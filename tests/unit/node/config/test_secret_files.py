"""Secrets come from files or from the service manager, and no message quotes one."""

from __future__ import annotations

from pathlib import Path

import pytest

from node.config.file import read_config
from node.config.secret_files import read_secret, secret_path
from node.errors import ConfigError, SecretUnusable

WEB = (
    '[node]\nae_title = "NODE"\n[[node.destination]]\nname = "w"\nkind = "dicomweb"\n'
    'url = "http://h/d"\nauthorization_file = "{}"\n'
)


def _configured(tmp_path: Path, value: str) -> list[tuple[str, str]]:
    path = tmp_path / "config.toml"
    path.write_text(WEB.format(value))
    return read_config(path, {}).secrets()


def test_a_path_starts_at_the_file_and_a_credential_stays_a_name(tmp_path: Path) -> None:
    key = "node.destination.authorization_file"
    assert _configured(tmp_path, "token") == [(key, str(tmp_path / "token"))]
    assert _configured(tmp_path, "/run/token") == [(key, "/run/token")]
    assert _configured(tmp_path, "credential:token") == [(key, "credential:token")]
    assert _configured(tmp_path, "") == []


@pytest.mark.parametrize("value", ["credential:", "credential:../x", "credential:a/b"])
def test_a_credential_is_a_plain_name(tmp_path: Path, value: str) -> None:
    with pytest.raises(ConfigError, match="credential: must be followed by a name"):
        _configured(tmp_path, value)


def test_a_credential_is_read_from_the_folder_of_the_service(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("Bearer abc\n")
    environ = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    assert secret_path("credential:token", environ) == tmp_path / "token"
    assert read_secret("credential:token", environ) == "Bearer abc"
    assert read_secret(str(tmp_path / "token"), {}) == "Bearer abc"
    with pytest.raises(SecretUnusable, match="CREDENTIALS_DIRECTORY is not set"):
        read_secret("credential:token", {})


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"hunter2\nX: 1", "not one line of ASCII"),
        (b"hunter2\xff", "not one line of ASCII"),
        (b"hunter2\x00", "not one line of ASCII"),
        (None, "No such file or directory"),
    ],
)
def test_what_is_no_secret_is_refused_without_being_quoted(
    tmp_path: Path, content: bytes | None, why: str
) -> None:
    if content is not None:
        (tmp_path / "s").write_bytes(content)
    with pytest.raises(SecretUnusable, match=why) as refused:
        read_secret(str(tmp_path / "s"), {})
    assert "hunter2" not in str(refused.value)
    assert str(tmp_path / "s") in str(refused.value)
