"""Write a configuration as TOML."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

from pydantic import BaseModel

from node.config.key_types import models_in
from node.config.lines import Where

_NO_SOURCES: Final[Mapping[Where, str]] = MappingProxyType({})


def render(
    config: BaseModel, *, comments: bool = True, sources: Mapping[Where, str] = _NO_SOURCES
) -> str:
    """Write tables as TOML: every key with its value and, as comments, its sentence.

    sources: where single values came from, written behind them.
    """
    return "\n".join(_tables(config, (), comments=comments, sources=sources)).strip() + "\n"


def digest(config: BaseModel) -> str:
    """Return the SHA-256 of the effective configuration, which holds no secret but the paths of their files."""
    return hashlib.sha256(render(config, comments=False).encode()).hexdigest()


def _tables(
    config: BaseModel, where: Where, *, comments: bool, sources: Mapping[Where, str]
) -> list[str]:
    lines: list[str] = []
    for name, section in config:
        if isinstance(section, BaseModel):
            here = (*where, name)
            lines += table(section, f"[{_dotted(here)}]", here, comments=comments, sources=sources)
            for key, value in section:
                header = f"[[{_dotted((*here, key))}]]"
                for number, entry in enumerate(value if _is_array_of_tables(value) else ()):
                    place = (*here, key, number)
                    lines += table(entry, header, place, comments=comments, sources=sources)
            lines += _tables(section, here, comments=comments, sources=sources)
    return lines


def table(
    section: BaseModel,
    header: str,
    where: Where = (),
    *,
    comments: bool,
    sources: Mapping[Where, str] = _NO_SOURCES,
) -> list[str]:
    """Lines of one table without the arrays of tables in it; none when it holds only those."""
    keys: list[str] = []
    for key, field in type(section).model_fields.items():
        value = getattr(section, key)
        if models_in(field.annotation):
            continue
        if comments:
            keys.append(f"# {field.description}")
        source = sources.get((*where, key))
        keys.append(f"{key} = {_toml(value)}" + (f"  # {source}" if source else ""))
    if not keys:
        return []
    about = (type(section).__doc__ or "").strip().split(": ", 1)[-1]
    return [
        "",
        *([f"# {about[0].upper()}{about[1:]}"] if comments and about else []),
        header,
        *keys,
    ]


def _dotted(where: Where) -> str:
    return ".".join(str(part) for part in where)


def _is_array_of_tables(value: object) -> bool:
    return isinstance(value, tuple) and bool(value) and isinstance(value[0], BaseModel)


def _toml(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(_toml(v) for v in value)}]"
    # A JSON string, number or boolean is one of TOML, too.
    return json.dumps(str(value) if isinstance(value, Path) else value, ensure_ascii=False)
