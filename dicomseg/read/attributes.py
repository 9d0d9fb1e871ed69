"""Typed values of an untrusted data set: each reader returns the value if it is valid, otherwise empty or None.

pydicom converts a value when it is first touched, and a hostile value raises then. Every reader here
catches that, so that one bad attribute never costs the object. These values are for decisions; what is
written into a result is copied by `dicomseg.read.copied_attributes`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag

TEXT_LIMIT: Final = 1024
"""Characters kept of any text: the longest short text VR (LO, PN) allows 64 per value."""

PIXEL_KEYWORDS: Final = ("PixelData", "FloatPixelData", "DoubleFloatPixelData")
"""Attributes that hold pixels, of which an object has one at most."""

BAD_VALUE: Final = Exception
"""Whatever pydicom raises while it converts a value: BytesLengthException, struct.error, LookupError,
RecursionError … are no relatives of one another, and each of them is the value's fault."""


@cache
def _tag(keyword: str) -> BaseTag:
    return Tag(keyword)


def raw(ds: Dataset, keyword: str) -> Any:
    """Return the value of an attribute as pydicom gives it, None when absent, empty or unreadable."""
    try:
        tag = _tag(keyword)
        if tag not in ds:
            return None
        value = ds[tag].value
        if isinstance(value, str):
            return value or None
        if isinstance(value, Sequence) and len(value) == 0:
            return None
    except BAD_VALUE:
        return None
    return value


def _values(ds: Dataset, keyword: str) -> list[Any]:
    value = raw(ds, keyword)
    if value is None:
        return []
    return list(value) if isinstance(value, (MultiValue, list, tuple)) else [value]


def texts(ds: Dataset, keyword: str) -> tuple[str, ...]:
    """Return all values as one-line texts without control characters."""
    out = []
    for value in _values(ds, keyword)[:TEXT_LIMIT]:
        try:
            text = str(value)[:TEXT_LIMIT]
        except BAD_VALUE:
            continue
        if not text.isprintable():
            text = "".join(c if c.isprintable() else " " for c in text)
        out.append(" ".join(text.split()))
    return tuple(out)


def text(ds: Dataset, keyword: str) -> str:
    """Return the values as one text joined by a backslash, "" when absent."""
    return "\\".join(texts(ds, keyword))


def codes(ds: Dataset, keyword: str) -> tuple[str, ...]:
    """Return code strings in upper case, empty values dropped."""
    return tuple(t.upper() for t in texts(ds, keyword) if t)


def _finite(value: object) -> float | None:
    try:
        number = float(value)  # type: ignore[arg-type]
    except BAD_VALUE:
        return None
    return number if math.isfinite(number) else None


def number(ds: Dataset, keyword: str) -> float | None:
    """Return the first value as a finite float."""
    values = _values(ds, keyword)
    return _finite(values[0]) if values else None


def integer(ds: Dataset, keyword: str) -> int | None:
    """Return the first value as an integer; 3.7 is not one."""
    value = number(ds, keyword)
    return int(value) if value is not None and value == int(value) else None


def numbers(ds: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """Return exactly `count` finite floats, else None."""
    values = [_finite(v) for v in _values(ds, keyword)]
    finite = tuple(v for v in values if v is not None)
    return finite if len(values) == len(finite) == count else None


def items(ds: Dataset | None, keyword: str) -> tuple[Dataset, ...]:
    """Return the items of a sequence, () when absent or not a sequence."""
    if ds is None:
        return ()
    value = raw(ds, keyword)
    if value is None or isinstance(value, (str, bytes)):
        return ()
    try:
        return tuple(item for item in value if isinstance(item, Dataset))
    except BAD_VALUE:
        return ()


def first_item(ds: Dataset | None, keyword: str) -> Dataset | None:
    """Return the first item of a sequence."""
    sequence = items(ds, keyword)
    return sequence[0] if sequence else None


def groups(ds: Dataset, frame: Dataset | None, keyword: str) -> Iterator[Dataset]:
    """Yield the items of one functional group: the frame's own before the shared one (PS3.3 C.7.6.16.1.1)."""
    for holder in (frame, first_item(ds, "SharedFunctionalGroupsSequence")):
        item = first_item(holder, keyword)
        if item is not None:
            yield item
