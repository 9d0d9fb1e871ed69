"""Typed values of an untrusted data set: each reader returns the value if it is valid, otherwise empty or None.

pydicom converts a value when it is first touched, and a hostile value raises then. Every reader here
catches that, so that one bad attribute never costs the object. These values are for decisions; what is
written into a result is copied by `dicomseg.read.copied_attributes`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from functools import cache, lru_cache
from typing import Any, Final

from pydicom.dataelem import RawDataElement, convert_raw_data_element
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


_PLAIN: Final = frozenset(
    ("AE", "AS", "CS", "DA", "DS", "FD", "FL", "IS", "LO", "PN", "SH", "SL", "SS", "TM", "UI", "UL", "US")
)  # fmt: skip
"""VRs of an explicit encoding whose values follow from their bytes, byte order and character set alone."""

_REMEMBERED: Final = 4096
"""Values that are kept; the images of one series differ in a handful of their eighty."""

_LONGEST_REMEMBERED: Final = 256
"""Bytes of a value that is kept."""


_Key = tuple[str, bytes, bool, str | tuple[str, ...]]
"""VR, bytes, whether they are little-endian, and character set of a value."""


@cache
def _tag(keyword: str) -> BaseTag:
    return Tag(keyword)


def raw(ds: Dataset, keyword: str) -> Any:
    """Return the value of an attribute as pydicom gives it, None when absent, empty or unreadable."""
    try:
        tag = _tag(keyword)
        if tag not in ds:
            return None
        return _some(ds[tag].value)
    except BAD_VALUE:
        return None


def _some(value: Any) -> Any:
    """Return a value, None for an empty one."""
    if isinstance(value, str):
        return value or None
    return None if isinstance(value, Sequence) and len(value) == 0 else value


def _key(ds: Dataset, keyword: str) -> _Key | None:
    """Return all that a value follows from, None where it is not plain."""
    element: Any = ds.get_item(_tag(keyword), keep_deferred=True)
    charset = ds.original_character_set
    if (
        not isinstance(element, RawDataElement)
        or element.VR not in _PLAIN
        or not element.value
        or len(element.value) > _LONGEST_REMEMBERED
        or not charset
    ):
        return None
    names = charset if isinstance(charset, str) else tuple(charset)
    return element.VR, element.value, element.is_little_endian, names


def _converted(key: _Key) -> Any:
    """Convert by pydicom, as `raw` does; what raises is not remembered."""
    vr, value, little_endian, charset = key
    element = RawDataElement(_tag("PatientID"), vr, len(value), value, 0, False, little_endian)
    names = charset if isinstance(charset, str) else list(charset)
    return _some(convert_raw_data_element(element, encoding=names).value)


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, (MultiValue, list, tuple)) else [value]


def texts(ds: Dataset, keyword: str) -> tuple[str, ...]:
    """Return all values as one-line texts without control characters."""
    key = _key(ds, keyword)
    if key is None:
        return _texts(raw(ds, keyword))
    try:
        return _remembered_texts(key)
    except BAD_VALUE:
        return ()


@lru_cache(_REMEMBERED)
def _remembered_texts(key: _Key) -> tuple[str, ...]:
    return _texts(_converted(key))


def _texts(value: Any) -> tuple[str, ...]:
    out = []
    for one in _listed(value)[:TEXT_LIMIT]:
        try:
            text = str(one)[:TEXT_LIMIT]
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


def _floats(ds: Dataset, keyword: str) -> tuple[float | None, ...]:
    """Return every value as a finite float, None where it is none."""
    key = _key(ds, keyword)
    if key is None:
        return _finites(raw(ds, keyword))
    try:
        return _remembered_floats(key)
    except BAD_VALUE:
        return ()


@lru_cache(_REMEMBERED)
def _remembered_floats(key: _Key) -> tuple[float | None, ...]:
    return _finites(_converted(key))


def _finites(value: Any) -> tuple[float | None, ...]:
    return tuple(map(_finite, _listed(value)))


def number(ds: Dataset, keyword: str) -> float | None:
    """Return the first value as a finite float."""
    values = _floats(ds, keyword)
    return values[0] if values else None


def integer(ds: Dataset, keyword: str) -> int | None:
    """Return the first value as an integer; 3.7 is not one."""
    value = number(ds, keyword)
    return int(value) if value is not None and value == int(value) else None


def numbers(ds: Dataset, keyword: str, count: int) -> tuple[float, ...] | None:
    """Return exactly `count` finite floats, else None."""
    values = _floats(ds, keyword)
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
