"""Read the configuration: a file and environment variables over it, to frozen sections with absolute paths."""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ValidationError

from node.config.environment import PREFIX, Overlay, with_variables
from node.config.lines import Where, line_of
from node.config.messages import messages
from node.config.search import LOCAL_FILE, SYSTEM_FILE, VARIABLE
from node.config.sections import Config
from node.errors import ConfigError

AE_TITLE: Final = "LUMBARNODE"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration and where its values came from.

    path: None without a file. text, overlay: the file, and its tables with the variables over them.
    """

    config: Config
    path: Path | None = None
    text: str = ""
    overlay: Overlay = field(default_factory=lambda: Overlay({}))

    def sources(self) -> dict[Where, str]:
        """Return where every value that is not the default came from: `FILE:LINE` or the variable."""
        found: dict[Where, str] = {}
        for where, is_default in _values(self.config):
            variable = self.overlay.variable_at(where)
            if variable is not None:
                found[where] = variable
            elif not is_default and _is_given(self.overlay.raw, where):
                found[where] = f"{self.path}:{line_of(self.text, where)}"
        return found


def default_config(folder: Path | None = None, environ: Mapping[str, str] | None = None) -> Config:
    """Return the configuration without a file, for commands that need no AE title.

    Raises:
        ConfigError: a variable is wrong.
    """
    raw = {"node": {"ae_title": AE_TITLE}}
    return _load(None, "", raw, folder or Path.cwd(), environ or {}).config


def read_config(path: Path | None, environ: Mapping[str, str] | None = None) -> Config:
    """Read, check and resolve a configuration, as `load_config`."""
    return load_config(path, environ).config


def load_config(path: Path | None, environ: Mapping[str, str] | None = None) -> Loaded:
    """Read a file and the variables over it. Relative paths start at its folder, without a file here.

    path: None reads variables alone. environ: the process's own by default.

    Raises:
        ConfigError: the file cannot be read, nothing is configured, or one line per wrong key.
    """
    environ = os.environ if environ is None else environ
    if path is None:
        if not any(name.startswith(PREFIX) for name in environ):
            raise ConfigError(
                f"{LOCAL_FILE}: cannot be read (No such file or directory), nor {SYSTEM_FILE};"
                f" give the file with --config or ${VARIABLE}"
            )
        return _load(None, "", {}, Path.cwd(), environ)
    try:
        text = path.read_text(encoding="utf-8-sig")  # editors of Windows write a byte-order mark
        raw = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}); {_remedy(error)}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text; save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}; correct the TOML there") from error
    return _load(path, text, raw, path.resolve().parent, environ)


def _remedy(error: OSError) -> str:
    if isinstance(error, PermissionError):
        return "run this as a member of its group, or give another file with --config"
    return f"give the file with --config or ${VARIABLE}"


def _load(
    path: Path | None, text: str, raw: Mapping[str, Any], folder: Path, environ: Mapping[str, str]
) -> Loaded:
    overlay = with_variables(raw, environ, Config)
    try:
        config = _validated(overlay.raw)
    except ValidationError as error:
        raise ConfigError("\n".join(messages(path, text, overlay, error, Config))) from error
    return Loaded(config.resolved(folder), path, text, overlay)


def _validated(raw: dict[str, Any]) -> Config:
    """Validate as JSON: there a list is a tuple and a text a path, and all else is strict."""
    return Config.model_validate_json(json.dumps(raw))


def _values(table: BaseModel, where: Where = ()) -> list[tuple[Where, bool]]:
    """Return the place of every value below a table, and whether it is the default."""
    found: list[tuple[Where, bool]] = []
    for key, about in type(table).model_fields.items():
        value, place = getattr(table, key), (*where, key)
        tables = [value] if isinstance(value, BaseModel) else value
        if isinstance(tables, list | tuple) and tables and isinstance(tables[0], BaseModel):
            for number, inner in enumerate(tables):
                is_entry = isinstance(value, tuple)
                found += _values(inner, (*place, number) if is_entry else place)
        else:
            found.append((place, not about.is_required() and value == about.default))
    return found


def _is_given(raw: Mapping[str, Any], where: Where) -> bool:
    place: Any = raw
    for part in where:
        try:
            place = place[part]
        except (KeyError, IndexError, TypeError):
            return False
    return True
