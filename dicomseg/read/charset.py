"""Specific Character Set (PS3.3 C.12.1.1.2): what a source declares, read with tolerance, and what a result declares."""

from __future__ import annotations

import codecs
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pydicom.charset import decode_bytes, python_encoding
from pydicom.valuerep import PN_DELIMS, TEXT_VR_DELIMS

from dicomseg.read.values import NAME_COMPONENTS

LATIN_1: Final = "ISO_IR 100"
UTF_8: Final = "ISO_IR 192"
_ESCAPE: Final = b"\x1b"
_ESCAPE_SEQUENCE: Final = re.compile(r"\x1b(\$[()]?|[()\-])[@-Z]")
_ASCII: Final = frozenset({"", "ISO_IR 6", "ISO 2022 IR 6"})
"""Terms of the default repertoire, which a result declares as Latin-1, its superset."""
_ALONE: Final = ("ISO_IR 192", "GB18030")
"""Sets that cannot be used with code extensions (PS3.5 6.1.2.5.4)."""
_MULTIBYTE: Final = ("87", "149", "58", "159")
"""Registrations that may only be an extension of another set, never the first value."""
_NOT_KEPT: Final = frozenset({"ISO_IR 13", "ISO_IR 203"})
"""Legal sets that dicom3tools or pydicom do not know, so that text in them is written in Unicode."""
_FREE: Final = {
    "UTF 8": UTF_8, "UTF8": UTF_8, "UNICODE 1 1 UTF 8": UTF_8, "GB 18030": "GB18030", "GB18030": "GB18030",
    "GBK": "GB18030", "ISO 2022 GBK": "GB18030", "GB2312": "GB18030", "ISO 2022 58": "ISO 2022 IR 58",
    "LATIN1": LATIN_1, "LATIN 1": LATIN_1, "ISO 8859 1": LATIN_1, "ISO8859 1": LATIN_1,
}  # fmt: skip
"""What else is met in headers for a defined term, in upper case with single spaces; GBK is a part of GB18030."""
_EXTENSIONS: Final = ("latin_1", "iso2022_jp", "iso2022_jp_2", "euc_kr", "iso_ir_58", "shift_jis")
"""Encodings tried for escape sequences that are not declared."""
_DESIGNATED: Final = {"euc_kr": b"\x1b$)C", "iso_ir_58": b"\x1b$)A"}
"""Sets of two bytes above 127, with the sequence that has to stand before them, again behind every separator. Many
Korean and Chinese systems write it once or leave it out."""


def to_defined_term(spelled: str) -> str | None:
    """Return the defined term that is meant, "" for the default repertoire, None when nothing is known of it."""
    text = re.sub(r"[\s_\-]+", " ", spelled.strip("\0 ")).upper()
    if text in {"", "ISO IR 6", "ISO 2022 IR 6"}:
        return "ISO 2022 IR 6" if text.startswith("ISO 2022") else ""
    if text in _FREE:
        return _FREE[text]
    match = re.fullmatch(r"ISO ?(2022)? ?IR ?(\d+)", text)
    if match is None:
        return None
    number = match[2]
    if number in {"192", "203"}:
        return f"ISO_IR {number}"
    term = f"ISO 2022 IR {number}" if match[1] or number in _MULTIBYTE else f"ISO_IR {number}"
    return term if term in python_encoding else None


@dataclass(frozen=True, slots=True)
class CharacterSet:
    """How the text of one source is read, and what a result that keeps its bytes declares.

    terms: Specific Character Set of a result that keeps the bytes; () where they cannot be kept.
    encodings: names of Python's encodings, the first one first. known: whether the declaration is one of PS3.3.
    """

    terms: tuple[str, ...]
    encodings: tuple[str, ...]
    known: bool = True

    def decode(self, value: bytes, *, name: bool = False) -> str:
        """Decode the value of one attribute, all its values; bytes that fit no rule are read as Latin-1.

        name: a person name, whose component delimiters end an escape sequence too.
        """
        delimiters = PN_DELIMS if name else TEXT_VR_DELIMS
        plain = self._without_designation(value)
        if plain is not None:
            return plain
        if _ESCAPE in value:
            encodings = [*self.encodings, *(e for e in _EXTENSIONS if e not in self.encodings)]
            try:
                return _decoded(value, encodings, delimiters)
            except (UnicodeError, LookupError):
                return value.decode("latin_1")
        for encoding in (self.encodings[0], "utf-8"):
            try:
                return value.decode(encoding)
            except UnicodeError:
                continue
        return value.decode("latin_1")

    def keeps(self, value: bytes, *, name: bool = False) -> bool:
        """Whether a reader that knows only the declared set reads these bytes as `decode` does.

        The second byte of a letter may be a backslash (安倍 in ISO 2022 IR 87, many in GB18030) or a caret. The
        standard allows that, but readers that split values before they decode them take it for a separator.
        """
        if not self.terms or value.count(b"\\") != self.decode(value, name=name).count("\\"):
            return False
        if name and any(group.count(b"^") >= NAME_COMPONENTS for group in value.split(b"=")):
            return False
        try:
            delimiters = PN_DELIMS if name else TEXT_VR_DELIMS
            declared = (
                _decoded(value, list(self.encodings), delimiters)
                if _ESCAPE in value
                else value.decode(self.encodings[0])
            )
        except (UnicodeError, LookupError):
            return False
        return declared == self.decode(value, name=name)

    def _without_designation(self, value: bytes) -> str | None:
        """Decode letters of two bytes above 127 wherever they stand; None where there are none of a declared set."""
        for encoding, designation in _DESIGNATED.items():
            rest = value.replace(designation, b"")
            if encoding not in self.encodings[1:] or rest.isascii() or _ESCAPE in rest:
                continue
            try:
                return rest.decode(encoding)
            except UnicodeError:
                continue
        return None


def _decoded(value: bytes, encodings: list[str], delimiters: set[int]) -> str:
    """Decode by the escape sequences (PS3.5 6.1.2.5); pydicom leaves those of GB 2312 in the text."""
    return _ESCAPE_SEQUENCE.sub("", decode_bytes(value, encodings, delimiters))


def character_set(declared: Sequence[str], undeclared: bytes = b"") -> CharacterSet:
    """Read Specific Character Set as it is met in the world.

    declared: its values. undeclared: all text of the header, which decides between UTF-8 and Latin-1 where the
    declaration does not say what bytes above 127 are.
    """
    terms = [to_defined_term(value) for value in declared]
    known = all(v in {t, "GBK", "ISO_IR 6"} for t, v in zip(terms, declared, strict=True))
    distinct = tuple(dict.fromkeys(t for t in terms if t is not None))
    alone = next((t for t in _ALONE if t in distinct), None)
    if alone is not None:
        return CharacterSet((alone,), (python_encoding[alone],), known and len(declared) == 1)
    if set(distinct) <= _ASCII:
        unknown = [v for t, v in zip(terms, declared, strict=True) if t is None]
        return _undeclared(unknown, undeclared, known=known)
    if len(distinct) == 1 and distinct[0].rsplit(" ", 1)[-1] not in _MULTIBYTE:
        kept = () if distinct[0] in _NOT_KEPT and not undeclared.isascii() else distinct
        return CharacterSet(kept, (_encoding(distinct[0]),), known)
    extended = tuple(t.replace("ISO_IR", "ISO 2022 IR") for t in distinct)
    if extended[0].rsplit(" ", 1)[-1] in _MULTIBYTE:
        extended = ("", *(t for t in extended if t))
    return CharacterSet(
        extended, tuple(_encoding(t) for t in extended), known and extended == tuple(declared)
    )


def _encoding(term: str) -> str:
    return "iso8859_15" if term.endswith("203") else python_encoding[term]


def _undeclared(unknown: Sequence[str], text: bytes, *, known: bool) -> CharacterSet:
    """Choose a set where none is declared, or none that DICOM knows."""
    for spelled in unknown:
        try:
            encoding = codecs.lookup(spelled.strip().replace(" ", "_")).name
            text.decode(encoding)
        except (LookupError, UnicodeError, ValueError):
            continue
        return CharacterSet((LATIN_1,) if text.isascii() else (), (encoding,), known=False)
    try:
        text.decode("utf-8")
    except UnicodeError:
        return CharacterSet((LATIN_1,), ("latin_1",), known=False)
    if text.isascii():
        return CharacterSet((LATIN_1,), ("latin_1",), known=known)
    return CharacterSet((UTF_8,), ("utf-8",), known=False)


_REPLACED: Final = {
    "±": "+/-", "°": " deg", "²": "2", "³": "3", "×": "x", "µ": "u", "–": "-", "—": "-", "−": "-", "…": "...",
    "≤": "<=", "≥": ">=", "≈": "about ", "·": ".", "‘": "'", "’": "'", "“": '"', "”": '"', "→": "to", "√": "root ",
}  # fmt: skip


def ascii_text(text: str) -> str:
    """Convert our own text to ASCII, which every character set has: "±" becomes "+/-", "mm²" becomes "mm2"."""
    replaced = "".join(_REPLACED.get(c, c) for c in text)
    return replaced.replace("\\", "/").encode("ascii", "replace").decode("ascii")
