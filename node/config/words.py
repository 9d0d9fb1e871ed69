"""Words of a configuration: which known one was meant, and which parts must not be shown."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from typing import Final

_USER: Final = re.compile(r"(\w+://)[^\s\"']*@")
_QUERY: Final = re.compile(r"(\w+://[^?\s\"']*)\?[^\s\"']*")


def masked(text: str) -> str:
    """Return the text with the user part and the query of every URL masked: they may hold secrets."""
    return _QUERY.sub(r"\1?***", _USER.sub(r"\1***@", text))


def nearest(word: str, known: Sequence[str]) -> str:
    """Return `; did you mean "…"?`, or the known words where none is close."""
    near = difflib.get_close_matches(word, known, n=1, cutoff=0.5)
    return f'; did you mean "{near[0]}"?' if near else f"; known: {', '.join(known)}"


def nearest_name(name: str, known: Sequence[str]) -> str:
    """Return `; did you mean NAME?` where one is close, else nothing: there are too many to list."""
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""
