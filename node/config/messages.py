"""What is wrong in a configuration file: one line per error, each with its line number and the remedy."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from node.config.environment import Overlay, name_of
from node.config.key_types import models_in
from node.config.lines import Where, line_of
from node.config.words import masked, nearest

MAX_LINES: Final = 20
"""Errors that are listed; a file with more of them is another program's."""

_KEY: Final = re.compile(r"\[(\w+)\] (\w+)")
_WORD: Final = re.compile(r"'([^']*)'")

_PROOF: Final = (
    "proof",
    'it is now proof: "auto" instead of true, "none" instead of false',
)
REPLACED: Final[Mapping[str, tuple[str, str]]] = MappingProxyType(
    {
        "prove": _PROOF,
        "verify_storage": _PROOF,
        "max_tries": (
            "patience_days",
            "it is now patience_days: how long a delivery is retried, not how often",
        ),
        "calling_ae_titles": (
            "caller",
            "write a [[receive.caller]] with ae_title and addresses for each sender",
        ),
        "peers": ("caller", "write a [[receive.caller]] with addresses for each sender"),
    }
)
"""Keys of earlier versions: which key took the place, and what to write."""


def messages(
    path: Path | None,
    text: str,
    overlay: Overlay,
    error: ValidationError,
    model: type[BaseModel],
) -> list[str]:
    """Return `FILE:LINE: what is wrong; what to do` for every error, in the order of the file.

    An error of a variable begins with its name instead, and comes last. path: None without a file;
    text: the file; overlay: the same as tables, with the variables over them; model: of the file.
    """
    lines = []
    for fault in error.errors(include_url=False):
        where = _written(fault["loc"], overlay.raw)
        line = line_of(text, where)
        variable = overlay.variable_at(where) or _asking(fault, where, overlay)
        source = variable or (f"{path}:{line}" if path else name_of(where))
        lines.append((bool(variable), line, f"{source}: {masked(_message(fault, where, model))}"))
    lines.sort(key=lambda line: line[:2])
    shown = [what for *_, what in lines[:MAX_LINES]]
    if len(lines) > MAX_LINES:
        shown[-1] += f" ({len(lines) - MAX_LINES} more)"
    return shown


def _asking(fault: ErrorDetails, where: Where, overlay: Overlay) -> str | None:
    """Return the variable of the key that a message names, where it asks for a section that nothing sets."""
    found = _KEY.search(fault["msg"])
    if found is None or not where or where[0] in overlay.raw:
        return None
    return overlay.variable_at((found[1], found[2]))


def _message(fault: ErrorDetails, where: Where, model: type[BaseModel]) -> str:
    key = ".".join(str(part) for part in where if isinstance(part, str))
    if fault["type"] == "extra_forbidden":
        return f'unknown key "{key}"{_hint(fault, where, model)}'
    if fault["type"] == "missing":
        return _missing(key, fault, model)
    if fault["type"] == "union_tag_not_found":
        return f'"{key}.kind" is missing; set kind = {_kinds(fault)}'
    if fault["type"] == "union_tag_invalid":
        tag = fault["ctx"]["tag"]
        return f'"{key}.kind" is "{tag}"; set kind = {_kinds(fault)}'
    if fault["type"] == "value_error":
        return f'"{key}": {fault["ctx"]["error"]!s}'
    return f'"{key}" {_expected(fault)}'


def _hint(fault: ErrorDetails, where: Where, model: type[BaseModel]) -> str:
    """Say where an unknown key belongs, or which known one is close to it."""
    word = str(where[-1])
    known = [k for table in _tables(model, fault["loc"][:-1]) for k in table.model_fields]
    if word in REPLACED and REPLACED[word][0] in known:
        return f"; {REPLACED[word][1]}"
    if word not in known:
        homes = [
            _home(path, table, word)
            for path, table in _all_tables(model)
            if word in table.model_fields
        ]
        if homes:
            return f"; it belongs to {' or '.join(dict.fromkeys(homes))}"
    return nearest(word, list(dict.fromkeys(known)))


def _home(path: str, table: type[BaseModel], word: str) -> str:
    """Return the header under which `word` is written: that of its table, or its own where it is one."""
    annotation = table.model_fields[word].annotation
    if not models_in(annotation):
        return f"[[{path}]]" if "kind" in table.model_fields else f"[{path}]"
    return f"[{path}.{word}]" if isinstance(annotation, type) else f"[[{path}.{word}]]"


def _missing(key: str, fault: ErrorDetails, model: type[BaseModel]) -> str:
    loc = fault["loc"]
    if len(loc) == 1:
        needed = [
            k for t in _tables(model, loc) for k, f in t.model_fields.items() if f.is_required()
        ]
        return f"section [{key}] is missing; it needs at least {', '.join(needed)}"
    return f'"{key}" is missing; it has no default'


def _kinds(fault: ErrorDetails) -> str:
    tags = fault["ctx"].get("expected_tags") or "'dicom', 'dicomweb', 'folder'"
    kinds = [tag.strip(" '") for tag in str(tags).split(",")]
    return " or ".join(f'"{kind}"' for kind in kinds)


_EXPECTED: Final[Mapping[str, Callable[[Mapping[str, Any]], str]]] = MappingProxyType(
    {
        "greater_than": lambda c: f"must be more than {_number(c['gt'])}",
        "greater_than_equal": lambda c: f"must be at least {_number(c['ge'])}",
        "less_than_equal": lambda c: f"must be at most {_number(c['le'])}",
        "less_than": lambda c: f"must be less than {_number(c['lt'])}",
        "int_type": lambda _: "must be a whole number without quotes",
        "int_from_float": lambda _: "must be a whole number",
        "float_type": lambda _: "must be a number without quotes",
        "finite_number": lambda _: "must be a finite number",
        "bool_type": lambda _: "must be true or false, without quotes",
        "string_type": lambda _: 'must be a text in quotes, as "…"',
        "path_type": lambda _: 'must be a path in quotes, as "…"',
        "tuple_type": lambda _: 'must be a list, as ["…"]',
        "model_type": lambda _: "must be a table of keys",
        "literal_error": lambda c: (
            "must be " + str(c["expected"]).replace("'", '"').removeprefix('"", ')
        ),
        "string_too_short": lambda c: (
            "must not be empty"
            if c["min_length"] == 1
            else f"must have at least {c['min_length']} characters"
        ),
        "string_too_long": lambda c: f"must have at most {c['max_length']} characters",
        "too_short": lambda c: f"must have at least {c['min_length']} entry",
    }
)


def _expected(fault: ErrorDetails) -> str:
    """Return what a value must be, and what it is where that is short."""
    kind, context = fault["type"], fault.get("ctx", {})
    if kind == "tuple_type" and isinstance(fault["input"], Mapping):
        return "is one table; write its header in double brackets, [[…]]"
    if kind == "model_type" and not isinstance(fault["input"], Mapping):
        return f"must be a section, written as [{'.'.join(map(str, fault['loc']))}]"
    rule = _EXPECTED.get(kind)
    text = rule(context) if rule else fault["msg"][0].lower() + fault["msg"][1:]
    given = fault["input"]
    is_short = isinstance(given, bool | int | float) or (
        isinstance(given, str) and len(given) <= 40
    )
    if not is_short or given == "":
        return text
    return f"{text}, not {_value(given)}{_meant(fault) if kind == 'literal_error' else ''}"


def _meant(fault: ErrorDetails) -> str:
    """Name the known word that is close to the given one, if one is."""
    known = [word for word in _WORD.findall(str(fault["ctx"]["expected"])) if word]
    hint = nearest(str(fault["input"]), known)
    return hint if "did you mean" in hint else ""


def _number(value: float) -> str:
    return f"{value:g}"


def _value(given: object) -> str:
    if isinstance(given, bool):
        return "true" if given else "false"
    return f'"{given}"' if isinstance(given, str) else str(given)


def _written(loc: Where, raw: Mapping[str, Any]) -> Where:
    """Leave out of pydantic's location what is not in the file: the tag of a kind of table."""
    value: Any = raw
    kept: list[str | int] = []
    for n, part in enumerate(loc):
        is_tag = isinstance(value, dict) and part not in value and part in value.values()
        if is_tag or (isinstance(part, int) and not isinstance(value, list)):
            continue
        kept.append(part)
        try:
            value = value[part]
        except (KeyError, IndexError, TypeError):
            return (*kept, *loc[n + 1 :])
    return tuple(kept)


def _tables(model: type[BaseModel], loc: Where) -> list[type[BaseModel]]:
    """Return the models of the table at `loc`: one, or every kind where the tag is unknown."""
    tables: list[type[BaseModel]] = [model]
    for part in loc:
        tagged = [m for m in tables if _tag(m) == part]
        inner = [
            m
            for table in tables
            if part in table.model_fields
            for m in models_in(table.model_fields[str(part)].annotation)
        ]
        tables = tagged or inner or tables
    return tables


def _all_tables(model: type[BaseModel], path: str = "") -> list[tuple[str, type[BaseModel]]]:
    """Return every table of a file with its dotted name."""
    tables = []
    for name, field in model.model_fields.items():
        for inner in models_in(field.annotation):
            tables.append((f"{path}{name}", inner))
            tables += _all_tables(inner, f"{path}{name}.")
    return tables


def _tag(model: type[BaseModel]) -> str | None:
    field = model.model_fields.get("kind")
    return None if field is None else str(get_args(field.annotation)[0])
