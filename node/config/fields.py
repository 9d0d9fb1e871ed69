"""Types of configuration values, each with the rule that it obeys and the sentence that says so."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from node.config.secret_files import CREDENTIAL

_AE: Final = re.compile(r"[!-\[\]-~]([ -\[\]-~]{0,14}[!-\[\]-~])?")
_TEXT: Final = re.compile(r"[^\\\x00-\x1f\x7f]*")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_PLACES: Final = re.compile(r"\{[^{}]*\}|[{}]")
_LINK: Final = re.compile(r"https?://[!-~]+")
_URL: Final = re.compile(r"https?://[^\s/?#]\S*")


@dataclass(frozen=True, slots=True)
class _FromFile:
    """Marks the type of a path that starts at the folder of the configuration file."""


@dataclass(frozen=True, slots=True)
class _Secret:
    """Marks the type of a path whose file holds a secret."""


FROM_FILE: Final = _FromFile()
SECRET: Final = _Secret()


class Section(BaseModel):
    """One table of the file: frozen, no unknown keys, no number given as text, neither inf nor nan."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", strict=True, allow_inf_nan=False, defer_build=True
    )

    def resolved(self, folder: Path) -> Self:
        """Return the table and those in it with every path absolute; an empty one stays empty."""
        values = {
            key: _absolute(getattr(self, key), folder, is_path=FROM_FILE in field.metadata)
            for key, field in type(self).model_fields.items()
        }
        return self.model_copy(update=values)

    def secrets(self, path: str = "") -> list[tuple[str, str]]:
        """Return the dotted key and the value of every secret's file that is given, below this table."""
        found: list[tuple[str, str]] = []
        for key, field in type(self).model_fields.items():
            value = getattr(self, key)
            for inner in value if isinstance(value, tuple) else (value,):
                if isinstance(inner, Section):
                    found += inner.secrets(f"{path}{key}.")
                elif SECRET in field.metadata and inner:
                    found.append((f"{path}{key}", inner))
        return found


def _absolute(value: object, folder: Path, *, is_path: bool) -> object:
    if isinstance(value, Section):
        return value.resolved(folder)
    if isinstance(value, tuple):
        return tuple(_absolute(v, folder, is_path=is_path) for v in value)
    if not is_path or value == "" or str(value).startswith(CREDENTIAL):
        return value
    return folder / value if isinstance(value, Path) else str(folder / str(value))


def _ae_title(value: str) -> str:
    if not _AE.fullmatch(value):
        raise ValueError(
            "an AE title has 1 to 16 ASCII characters, no backslash and no space at either end"
            f" (this one has {len(value)})"
        )
    return value


def _one_line(value: str) -> str:
    if not _TEXT.fullmatch(value):
        raise ValueError("must not contain a backslash or a control character (DICOM PS3.5 6.2)")
    return value


def _name(value: str) -> str:
    if not _NAME.fullmatch(value):
        raise ValueError(
            "must be 1 to 64 letters, digits, dots, hyphens or underscores, beginning with a letter or digit"
        )
    return value


def _url(value: str) -> str:
    if not _URL.fullmatch(value):
        raise ValueError('must be an address as "http://host:8042/dicom-web"')
    if "?" in value or "#" in value:
        raise ValueError(
            "must end before any ? or #, since paths are appended; give secrets in authorization_file"
        )
    return value


def _link(value: str) -> str:
    if not value:
        return value
    if not _LINK.fullmatch(value) or any(sign in value for sign in "\"'<>\\^`|"):
        raise ValueError(
            "must be an http or https address without spaces, quotes and signs of other alphabets"
        )
    places = _PLACES.findall(value)
    if "{study}" not in places or set(places) - {"{study}", "{result}"}:
        raise ValueError("must hold {study}, may hold {result}, and nothing else in braces")
    return value


def _network(value: str) -> str:
    try:
        ipaddress.ip_network(value, strict=False)
    except ValueError as error:
        raise ValueError(
            f'"{value}" is not an IP address or network; write e.g. "10.1.2.3" or "10.1.0.0/16"'
        ) from error
    return value


def _not_empty(value: object) -> object:
    if value == "":  # which would be read as the current folder; that is "."
        raise ValueError("must not be empty; give a folder")
    return value


def _secret_file(value: str) -> str:
    if value.startswith(CREDENTIAL) and not _NAME.fullmatch(value.removeprefix(CREDENTIAL)):
        raise ValueError(
            f"{CREDENTIAL} must be followed by a name of letters, digits, dots, hyphens or underscores"
        )
    return value


AE = Annotated[str, AfterValidator(_ae_title)]
"""An application entity title (PS3.5 6.2, value representation AE)."""
Port = Annotated[int, Field(ge=1, le=65535)]
Text = Annotated[str, AfterValidator(_one_line)]
"""A text that is written into objects as one value."""
Name = Annotated[str, AfterValidator(_name)]
"""A name that also serves as a file name."""
Url = Annotated[str, AfterValidator(_url)]
Link = Annotated[str, AfterValidator(_link)]
Network = Annotated[str, AfterValidator(_network)]
Folder = Annotated[Path, BeforeValidator(_not_empty), FROM_FILE]
FileName = Annotated[str, FROM_FILE]
"""Path of a file or folder; empty = none."""
SecretFile = Annotated[str, AfterValidator(_secret_file), FROM_FILE, SECRET]
"""Path of a file with a secret, or `credential:NAME`; empty = none."""
