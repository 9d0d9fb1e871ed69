"""Find where a key is written in the text of a configuration file."""

from __future__ import annotations

import re
from typing import Final

Where = tuple[str | int, ...]
"""A place in the file: names of tables and keys, and numbers from 0 in arrays of tables."""

_HEADER: Final = re.compile(r"^\s*(\[\[?)\s*([A-Za-z0-9_.\"' -]+?)\s*\]\]?\s*(#.*)?$")
_KEY: Final = re.compile(r"^\s*[\"']?([A-Za-z0-9_-]+)[\"']?\s*(=|\.)")


def line_of(text: str, where: Where) -> int:
    """Return the line (from 1) of a key in a TOML text; that of its table, or 1, if the key is absent."""
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
            here = here[:-1]  # the array itself was meant: its first table represents it
        if here and here == where[: len(here)] and len(here) > depth:
            best, depth = number, len(here)
    return best
