"""DICOM JSON (PS3.18 annex F) of a server, which is untrusted: items of a sequence, the first value of an attribute."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def items(body: Mapping[str, Any], tag: str) -> list[Mapping[str, Any]]:
    """Return the items of a sequence. Raises `AttributeError` and others where it has not its form."""
    return list(body.get(tag, {}).get("Value", []))


def first_text(item: Mapping[str, Any], tag: str) -> str:
    """Return the first value of an attribute as text, "" where it has none of the right form."""
    attribute = item.get(tag)
    values = attribute.get("Value") if isinstance(attribute, dict) else None
    return str(values[0]) if isinstance(values, list) and values else ""
