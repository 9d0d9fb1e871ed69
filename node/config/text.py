"""The configuration as text: which line is wrong and why, and the file written out.

Works for any pydantic model of tables; `node.config.sections` holds the models.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

Where = tuple[str | int, ...]
"""A place in the file: table and key names, and numbers from 0 in arrays of tables."""

_HEADER: Final = re.compile(r"^\s*(\[\[?)\s*([A-Za-z0-9_.\"' -]+?)\s*\]\]?\s*(#.*)?$")
_KEY: Final = re.compile(r"^\s*[\"']?([A-Za-z0-9_-]+)[\"']?\s*(=|\.)")

_USER: Final = re.compile(r"(\w+://)[^\s\"']*@")
_QUERY: Final = re.compile(r"(\w+://[^?\s\"']*)\?[^\s\"']*")


def masked(text: str) -> str:
    """Text in which every URL has lost its user part and its query, where secrets may stand."""
    return _QUERY.sub(r"\1?***", _USER.sub(r"\1***@", text))


def nearest(word: str, known: Sequence[str]) -> str:
    """Say which of the known words was meant, or which there are."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f'; did you mean "{near[0]}"?' if near else f"; known: {', '.join(known)}"


def message(text: str, raw: Mapping[str, Any], error: ValidationError, model: Any) -> str:
    """`LINE: what is wrong`, one line for the first error and how many more there are."""
    errors = error.errors(include_url=False)
    first = errors[0]
    more = f" ({len(errors) - 1} more)" if len(errors) > 1 else ""
    where = _written(first["loc"], raw)
    return f"{line_of(text, where)}: {_what(first, where, model)}{more}"


def _what(error: ErrorDetails, where: Where, model: Any) -> str:
    key = ".".join(str(part) for part in where if isinstance(part, str))
    if error["type"] == "extra_forbidden":
        known = [k for section in _sections(model, error["loc"][:-1]) for k in section.model_fields]
        return f'unknown key "{key}"{nearest(str(where[-1]), known)}'
    if error["type"] == "missing":
        return f'"{key}" is missing; it has no default'
    told = error["msg"].removeprefix("Value error, ")
    return f'"{key}": {told[0].lower()}{told[1:]}'


def _written(loc: Where, raw: Mapping[str, Any]) -> Where:
    """Leave out of pydantic's location what is not in the file: the tag of a kind of table."""
    here: Any = raw
    kept: list[str | int] = []
    for n, part in enumerate(loc):
        is_tag = isinstance(here, dict) and part not in here and part in here.values()
        if is_tag or (isinstance(part, int) and not isinstance(here, list)):
            continue
        kept.append(part)
        try:
            here = here[part]
        except (KeyError, IndexError, TypeError):
            return (*kept, *loc[n + 1 :])
    return tuple(kept)


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    """Every model that a type such as `tuple[Annotated[A | B, …], ...]` speaks of."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [model for part in get_args(annotation) for model in _models_in(part)]


def _sections(model: Any, loc: Where) -> list[type[BaseModel]]:
    """The models of the table at `loc`: one, or all kinds where the tag is not told."""
    found: list[type[BaseModel]] = [model]
    for part in loc:
        tagged = [m for m in found if _tag(m) == part]
        inner = [
            m
            for section in found
            if part in section.model_fields
            for m in _models_in(section.model_fields[str(part)].annotation)
        ]
        found = tagged or inner or found
    return found


def _tag(model: type[BaseModel]) -> str | None:
    field = model.model_fields.get("kind")
    return None if field is None else str(get_args(field.annotation)[0])


def line_of(text: str, where: Where) -> int:
    """Line (from 1) of a key in a TOML text; of its table, or 1, where the key is not written."""
    table: Where = ()
    counts: dict[str, int] = {}
    best, depth = 1, 0
    for number, line in enumerate(text.splitlines(), start=1):
        header, key = _HEADER.match(line), _KEY.match(line)
        here: Where = ()
        if header:
            name = header[2].replace(" ", "")
            table = tuple(part.strip("\"'") for part in name.split("."))
            if header[1] == "[[":
                counts[name] = counts.get(name, -1) + 1
                table = (*table, counts[name])
            here = table
        elif key:
            here = (*table, key[1])
        if header and len(here) == len(where) + 1:
            here = here[:-1]  # the array itself was meant: its first table stands for it
        if here and here == where[: len(here)] and len(here) > depth:
            best, depth = number, len(here)
    return best


def render(config: BaseModel, *, comments: bool = True, path: str = "") -> str:
    """Write tables as TOML: every key with its value and, as comments, its sentence."""
    return "\n".join(_tables(config, path, comments=comments)).strip() + "\n"


def _tables(config: BaseModel, path: str, *, comments: bool) -> list[str]:
    lines: list[str] = []
    for name, section in config:
        inner = f"{path}{name}"
        if isinstance(section, BaseModel):
            lines += table(section, f"[{inner}]", comments=comments)
            lines += _arrays(section, inner, comments=comments)
            lines += _tables(section, f"{inner}.", comments=comments)
    return lines


def _arrays(section: BaseModel, path: str, *, comments: bool) -> list[str]:
    lines: list[str] = []
    for key, value in section:
        if _is_array_of_tables(value):
            for element in value:
                lines += table(element, f"[[{path}.{key}]]", comments=comments)
    return lines


def table(section: BaseModel, header: str, *, comments: bool) -> list[str]:
    """Lines of one table without the arrays of tables in it; none when it holds only those."""
    keys: list[str] = []
    for key, field in type(section).model_fields.items():
        value = getattr(section, key)
        if _models_in(field.annotation):
            continue
        if comments:
            keys.append(f"# {field.description}")
        keys.append(f"{key} = {_toml(value)}")
    if not keys:
        return []
    about = (type(section).__doc__ or "").strip().split(": ", 1)[-1]
    return [
        "",
        *([f"# {about[0].upper()}{about[1:]}"] if comments and about else []),
        header,
        *keys,
    ]


def _is_array_of_tables(value: object) -> bool:
    return isinstance(value, tuple) and bool(value) and isinstance(value[0], BaseModel)


def _toml(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(_toml(v) for v in value)}]"
    # A JSON string, number or boolean is one of TOML, too.
    return json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)
