"""Keys of the configuration from environment variables: `LUMBAR_NODE__NODE__PORT=104` over the file."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from node.config.key_types import is_list, models_in, plain_types
from node.config.lines import Where
from node.config.words import nearest_name
from node.errors import ConfigError

PREFIX: Final = "LUMBAR_NODE__"
SEPARATOR: Final = "__"

_OTHER_SIGNS: Final = re.compile(r"[^A-Za-z0-9]+")
_TAG: Final = "kind"


@dataclass(frozen=True, slots=True)
class Overlay:
    """The tables of a file with the variables over them.

    variables: for each place that a variable set, the name of the variable.
    """

    raw: dict[str, Any]
    variables: Mapping[Where, str] = field(default_factory=dict)

    def variable_at(self, where: Where) -> str | None:
        """Return the variable that set a place, the list or table that it is in, or a key of it."""
        above = [w for w in self.variables if w == where[: len(w)]]
        if above:
            return self.variables[max(above, key=len)]
        return next((name for w, name in self.variables.items() if where == w[: len(where)]), None)


def with_variables(
    raw: Mapping[str, Any], environ: Mapping[str, str], model: type[BaseModel]
) -> Overlay:
    """Return the tables with every variable of our prefix over them.

    A text is taken as it is; numbers, true, false and lists are JSON. An entry of a list of tables is
    addressed by its name, or by its number from 0; a table with a kind may be added by a new name.

    Raises:
        ConfigError: one line per variable that names no key, with the nearest that does.
    """
    tables = json.loads(json.dumps(raw, default=str))
    names = sorted(name for name in environ if name.startswith(PREFIX))
    placed: dict[Where, str] = {}
    wrong: list[str] = []
    for name in names:
        try:
            where = _set(tables, name, environ, model, placed)
        except _Unknown as fault:
            wrong.append(f"{name}: {fault}")
            continue
        placed[where] = name
    if wrong:
        raise ConfigError("\n".join(wrong))
    return Overlay(tables, placed)


class _Unknown(Exception):
    """A variable names no key; the text says what to write instead."""


def _set(
    raw: dict[str, Any],
    name: str,
    environ: Mapping[str, str],
    model: type[BaseModel],
    placed: dict[Where, str],
) -> Where:
    """Set one value and return its place; the name of a new entry goes to `placed`. Raises `_Unknown`."""
    parts = name.removeprefix(PREFIX).split(SEPARATOR)
    place: Any = raw
    models: Sequence[type[BaseModel]] = (model,)
    where: list[str | int] = []
    while parts:
        part = parts.pop(0)
        annotation = _annotation(models, part)
        if annotation is None:
            raise _Unknown(f"no such key{nearest_name(name, _names(model, raw))}")
        key = part.lower()
        where.append(key)
        inner = models_in(annotation)
        if not isinstance(place, dict):  # the file is wrong here, which is reported with its line
            return tuple(where)
        if not inner or (not parts and is_list(annotation)):
            if parts:
                raise _Unknown(f"no such key{nearest_name(name, _names(model, raw))}")
            place[key] = _value(environ[name], annotation)
            return tuple(where)
        if not parts:
            raise _Unknown("is a section; give its keys, e.g. " + _first_name(name, inner))
        models = inner
        if is_list(annotation):
            entries = place.setdefault(key, [])
            if not isinstance(entries, list):
                return tuple(where)
            known = len(entries)
            number = _entry(entries, parts.pop(0), name, environ, inner, bool(parts))
            where.append(number)
            if number == known:
                placed[(*where, "name")] = name
            place = entries[number]
        else:
            place = place.setdefault(key, {})
    return tuple(where)


def _entry(
    entries: list[Any],
    word: str,
    name: str,
    environ: Mapping[str, str],
    models: Sequence[type[BaseModel]],
    has_key: bool,
) -> int:
    """Return the number of the entry that `word` addresses; a new one is added. Raises `_Unknown`."""
    start = name[: name.index(SEPARATOR + word) + len(SEPARATOR + word)]
    if not has_key or not word:
        raise _Unknown("is an entry of a list; give its keys, e.g. " + _first_name(start, models))
    titles = [str(e.get("name", "")) if isinstance(e, dict) else "" for e in entries]
    found = [n for n, title in enumerate(titles) if entry_word(title) == word]
    if len(found) > 1:
        raise _Unknown(
            f"{len(found)} entries are called so; use the number from 0 instead of {word}"
        )
    if found:
        return found[0]
    if word.isdecimal():
        if int(word) < len(entries):
            return int(word)
        raise _Unknown(f"there is no entry {word}; there are {len(entries)}, numbered from 0")
    kind = f"{start}{SEPARATOR}{_TAG.upper()}"
    if any(_TAG in m.model_fields for m in models) and kind not in environ:
        known = [name.replace(start, start[: -len(word)] + entry_word(t), 1) for t in titles if t]
        raise _Unknown(
            f'no entry is called "{word.lower()}"{nearest_name(name, known)}; a new one needs {kind}, too'
        )
    entries.append({"name": word.lower()})
    return len(entries) - 1


def name_of(where: Where) -> str:
    """Return the variable of a place."""
    return PREFIX + SEPARATOR.join(str(part).upper() for part in where)


def entry_word(title: str) -> str:
    """Return a name as variables write it: `pacs-1` is `PACS_1`."""
    return _OTHER_SIGNS.sub("_", title).upper()


def _annotation(models: Sequence[type[BaseModel]], part: str) -> Any:
    """Return the type of the key that `part` names in one of the tables; None where there is none."""
    return next(
        (
            field.annotation
            for model in models
            for key, field in model.model_fields.items()
            if key.upper() == part
        ),
        None,
    )


def _value(text: str, annotation: Any) -> Any:
    """Return the value of a variable as the file would give it."""
    if all(issubclass(kind, str | Path) for kind in plain_types(annotation)):
        return text
    try:
        return json.loads(text)
    except ValueError:
        return text  # reported with what it must be


def _names(
    model: type[BaseModel], raw: Mapping[str, Any] | None, prefix: str = PREFIX
) -> list[str]:
    """Return the variables of every key; of lists of tables those of the entries in `raw`."""
    names: list[str] = []
    for key, field_ in model.model_fields.items():
        name = f"{prefix}{key.upper()}"
        inner = models_in(field_.annotation)
        value = raw.get(key) if isinstance(raw, Mapping) else None
        if not inner or is_list(field_.annotation):
            names.append(name)
        if inner and not is_list(field_.annotation):
            names += _names(inner[0], value, f"{name}{SEPARATOR}")
            continue
        for entry in value if inner and isinstance(value, list) else ():
            title = entry_word(str(entry.get("name", ""))) if isinstance(entry, dict) else ""
            for one in inner if title else ():
                names += _names(one, None, f"{name}{SEPARATOR}{title}{SEPARATOR}")
    return list(dict.fromkeys(names))


def _first_name(name: str, models: Sequence[type[BaseModel]]) -> str:
    return f"{name}{SEPARATOR}{next(iter(models[0].model_fields)).upper()}"
