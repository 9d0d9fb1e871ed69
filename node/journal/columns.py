"""Read single columns of a row: states by name, JSON that may be damaged."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Any, TypeVar

from node.errors import JournalDamaged

S = TypeVar("S", bound=StrEnum)
J = TypeVar("J", list[Any], dict[str, Any])


def read_state(states: type[S], text: str) -> S:
    """Return the state that a row names. Raises `JournalDamaged` where there is none of this name."""
    try:
        return states(text)
    except ValueError:
        raise JournalDamaged(
            f"the journal is damaged (a row in the unknown state {text!r});"
            " stop the node and run `lumbar-node doctor --rebuild`"
        ) from None


def read_json(text: str, kind: type[J]) -> J:
    """Return a list or object of a JSON column, empty where it holds anything else.

    What such columns hold can be computed again; the row is worth more than they.
    """
    try:
        content = json.loads(text)
    except (ValueError, TypeError):
        return kind()
    return content if isinstance(content, kind) else kind()
