"""Write a configuration as TOML."""

from __future__ import annotations

import json
from pathlib import Path

from pydantic import BaseModel

from node.config.messages import models_in


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
        if models_in(field.annotation):
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
