"""Secrets as files: the value of a `…_file` key is a path, or `credential:NAME` of the service manager."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from node.errors import SecretUnusable

CREDENTIAL: Final = "credential:"
"""Begins the name of a file in the folder that systemd hands to the service (`LoadCredential=`)."""

DIRECTORY: Final = "CREDENTIALS_DIRECTORY"

MOST_BYTES: Final = 65_536


def secret_path(value: str, environ: Mapping[str, str] | None = None) -> Path:
    """Return the path of a secret's file.

    Raises:
        SecretUnusable: it is a credential of the service manager, and none is handed to this process.
    """
    if not value.startswith(CREDENTIAL):
        return Path(value)
    folder = (os.environ if environ is None else environ).get(DIRECTORY)
    if not folder:
        raise SecretUnusable(
            f"{value}: ${DIRECTORY} is not set, so it can be read in the service only;"
            " start it by systemd with LoadCredential=, or give a path"
        )
    return Path(folder) / value.removeprefix(CREDENTIAL)


def read_bytes(value: str, environ: Mapping[str, str] | None = None) -> bytes:
    """Return the content of a secret's file, of `MOST_BYTES` at most.

    Raises:
        SecretUnusable: it cannot be read, or is empty.
    """
    path = secret_path(value, environ)
    try:
        with path.open("rb") as file:
            content = file.read(MOST_BYTES)
    except OSError as error:
        raise SecretUnusable(
            f"{path}: {error.strerror}; check the path and its permissions"
        ) from None
    if not content.strip():
        raise SecretUnusable(f"{path}: is empty; write the secret into it")
    return content


def read_secret(value: str, environ: Mapping[str, str] | None = None) -> str:
    """Return the content of a secret's file: one line of ASCII.

    Raises:
        SecretUnusable: it cannot be read or is something else; the message never quotes it.
    """
    content = read_bytes(value, environ)
    try:
        text = content.decode("ascii").strip()
    except UnicodeDecodeError:
        text = ""
    if not text.isprintable() or not text:
        path = secret_path(value, environ)
        raise SecretUnusable(f"{path}: not one line of ASCII; write the secret alone into it")
    return text
