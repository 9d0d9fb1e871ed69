"""Values of untrusted headers by their value representation (PS3.5 6.2): what is valid or plainly meant, else None."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping
from datetime import date
from types import MappingProxyType
from typing import Final

_UID: Final = re.compile(r"(0|[1-9]\d*)(\.(0|[1-9]\d*))+")
_DATE: Final = re.compile(r"(\d{4})[-./]?(\d{2})[-./]?(\d{2})")
_TIME: Final = re.compile(r"(\d{2})(?::?(\d{2})(?::?(\d{2})(?:\.(\d{1,}))?)?)?")
_MOMENT: Final = re.compile(r"(\d{4}|\d{6}|\d{8})(\d{2,6}(?:\.\d{1,6})?)?([+-]\d{4})?")
_AGE: Final = re.compile(r"(\d{1,3})([DWMY])")
_CODE: Final = re.compile(r"[A-Z0-9 _]{1,16}")
_NAME_GROUPS: Final = 3
NAME_COMPONENTS: Final = 5
_DS_LENGTH: Final = 16
_IS_LARGEST: Final = 2**31 - 1
_UID_LENGTH: Final = 64


def one_line(text: str) -> str:
    """Remove the control characters of ASCII; bytes 128 to 159 stay, which other sets use for letters."""
    return "".join(c for c in text if c >= " " and c != "\x7f").strip(" ")


def _text(limit: int) -> Callable[[str], str | None]:
    return lambda text: one_line(text)[:limit].strip(" ") or None


def _paragraphs(limit: int) -> Callable[[str], str | None]:
    def clean(text: str) -> str | None:
        kept = "".join(c for c in text if (c >= " " and c != "\x7f") or c in "\n\r\f\t")
        return kept[:limit].rstrip(" ") or None

    return clean


def name(text: str) -> str | None:
    """Check a person name: at most three groups of 64 characters with five components each."""
    groups = []
    for group in text.split("=")[:_NAME_GROUPS]:
        components = one_line(group).split("^")
        parts = [*components[: NAME_COMPONENTS - 1], " ".join(components[NAME_COMPONENTS - 1 :])]
        kept = "^".join(parts[: len(components)])[:64]
        groups.append(kept.strip(" "))
    joined = "=".join(groups)
    return joined if joined.strip("^= ") else None


def day(text: str) -> str | None:
    """Check a date YYYYMMDD; separators are removed."""
    match = _DATE.fullmatch(text)
    if match is None:
        return None
    try:
        date(*(int(part) for part in match.groups()))
    except ValueError:
        return None
    return "".join(match.groups())


def time(text: str) -> str | None:
    """Check a time HHMMSS.FFFFFF, as far as it is given; colons are removed."""
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    hour, minute, second, fraction = match.groups()
    if int(hour) > 23 or int(minute or 0) > 59 or int(second or 0) > 59:
        return None
    return "".join(p for p in (hour, minute, second) if p) + (
        f".{fraction[:6]}" if fraction else ""
    )


def moment(text: str) -> str | None:
    """Check a date and time, with its offset from UTC."""
    match = _MOMENT.fullmatch(text)
    if match is None:
        return None
    date_text, clock, zone = match.groups()
    if day((date_text + "0101")[:8] if len(date_text) < 8 else date_text) is None:
        return None
    if clock and (len(date_text) < 8 or time(clock) is None):
        return None
    return text if zone is None or offset(zone) else None


def offset(text: str) -> str | None:
    """Check an offset from UTC, -1200 to +1400."""
    if re.fullmatch(r"[+-]\d{4}", text) is None or text == "-0000":
        return None
    minutes = int(text[:3]) * 60 + int(text[0] + text[3:])
    return text if -720 <= minutes <= 840 and int(text[3:]) < 60 else None


def age(text: str) -> str | None:
    """Check an age of three digits and D, W, M or Y; leading zeros are added."""
    match = _AGE.fullmatch(text.upper())
    return f"{int(match[1]):03d}{match[2]}" if match else None


def code_string(text: str) -> str | None:
    """Check a code string; it is returned in upper case."""
    code = one_line(text).upper()
    return code if _CODE.fullmatch(code) else None


def decimal(text: str) -> str | None:
    """Check a finite decimal string of at most 16 characters."""
    try:
        value = float(text)
    except ValueError:
        return None
    if not math.isfinite(value) or not re.fullmatch(r"[-+0-9.eE]+", text):
        return None
    return text if len(text) <= _DS_LENGTH else f"{value:.9g}"


def integer(text: str) -> str | None:
    """Check an integer string of 32 bits."""
    if not re.fullmatch(r"[+-]?\d{1,12}", text) or abs(int(text)) > _IS_LARGEST:
        return None
    return text


def uid(text: str) -> str | None:
    """Check a UID: no leading zeros in its components."""
    return text if len(text) <= _UID_LENGTH and _UID.fullmatch(text) else None


RULES: Final[Mapping[str, Callable[[str], str | None]]] = MappingProxyType(
    {
        "AE": _text(16),
        "AS": age,
        "CS": code_string,
        "DA": day,
        "DS": decimal,
        "DT": moment,
        "IS": integer,
        "LO": _text(64),
        "LT": _paragraphs(10240),
        "PN": name,
        "SH": _text(16),
        "ST": _paragraphs(1024),
        "TM": time,
        "UC": _text(1024),
        "UI": uid,
        "UT": _paragraphs(10240),
    }
)
"""Value representation to its rule: one value, decoded and without padding, to a valid one or None."""
