"""Attributes of an untrusted data set as a result may carry them: cleaned data elements, not values.

`AttributeReader` keeps what is valid, puts right what can only mean one thing, and leaves out and remembers the rest,
by the rules of `dicomseg.read.values`. For values to decide by, see `dicomseg.read.attributes`.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

from pydicom.charset import default_encoding
from pydicom.datadict import dictionary_VM, dictionary_VR, keyword_for_tag
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag
from pydicom.valuerep import PersonName

from dicomseg.read import attributes, values
from dicomseg.read.charset import CharacterSet, character_set

ENUMERATED: Final[Mapping[str, re.Pattern[str]]] = MappingProxyType(
    {
        "PatientSex": re.compile(r"[MFO]"),
        "TypeOfPatientID": re.compile(r"TEXT|RFID|BARCODE"),
        "QualityControlSubject": re.compile(r"YES|NO"),
        "PatientIdentityRemoved": re.compile(r"YES|NO"),
        "SmokingStatus": re.compile(r"YES|NO|UNKNOWN"),
        "ScanningSequence": re.compile(r"SE|IR|GR|EP|RM"),
        "SequenceVariant": re.compile(r"SK|MTC|SS|TRSS|SP|MP|OSP|NONE"),
        "MRAcquisitionType": re.compile(r"2D|3D"),
        "PatientPosition": re.compile(r"[HF]F(S|P|DR|DL)|LF[SPDR]|RF[SPDR]|AF[SPDR]L?|PF[SPDR]L?"),
        "LossyImageCompression": re.compile(r"00|01"),
        "UniversalEntityIDType": re.compile(r"DNS|EUI64|ISO|URI|UUID|X400|X500"),
        "TimezoneOffsetFromUTC": re.compile(r"(?!-0000)(\+(0\d|1[0-4])|-(0\d|1[0-2]))[0-5]\d"),
        "PregnancyStatus": re.compile(r"[1-4]"),
    }
)
"""Values that the standard allows, where it names them all."""

_IDENTIFIER: Final = re.compile(r".*(ID|IDs|Number|Numbers|UID)|Issuer.*")
"""Cut short, it would be another one's: such a value is left out instead."""

_NUMBERS: Final = frozenset({"US", "SS", "UL", "SL", "FL", "FD"})
_PARAGRAPHS: Final = frozenset({"ST", "LT", "UT"})
"""Texts in which a backslash is a letter."""

_MAX_DEPTH: Final = 3
"""Levels of sequences that are followed; what is copied here has two."""

_MAX_VALUES: Final = 64
"""Items kept of a sequence, values of an attribute: ten times what any real header has."""


def stored_value(ds: Dataset, keyword: str) -> bytes | str | None:
    """Return the bytes of a text attribute as they were read, its text where pydicom has converted it, None if absent."""
    tag = Tag(keyword)
    if tag not in ds:
        return None
    try:
        value = ds.get_item(tag).value
        parts = value if isinstance(value, (MultiValue, list, tuple)) else [value]
        if isinstance(value, bytes):
            return value
        if parts and all(isinstance(v, PersonName) and v.original_string for v in parts):
            names = [v.original_string for v in parts]
            return b"\\".join(n if isinstance(n, bytes) else n.encode() for n in names)
        return "\\".join("" if v is None else str(v) for v in parts)
    except attributes.BAD_VALUE:
        return ""


def read_charset(ds: Dataset, keywords: Iterable[str] = ()) -> CharacterSet:
    """Read the character set of a data set. keywords: text attributes that decide where none is declared."""
    declared = stored_value(ds, "SpecificCharacterSet") or ""
    text = declared.decode("latin_1") if isinstance(declared, bytes) else declared
    held = (stored_value(ds, k) for k in keywords if dictionary_VR(Tag(k)) != "SQ")
    undeclared = b" ".join(v for v in held if isinstance(v, bytes))
    return character_set([v.strip(" \0") for v in text.split("\\")] if text else [], undeclared)


@dataclass(slots=True, eq=False)
class AttributeReader:
    """Reads attributes by the rules of their value representation, and remembers what broke them.

    keep: text that is not ASCII stays in the bytes of the source. lost: one of them could not.
    """

    charset: CharacterSet
    keep: bool
    wrong: set[str] = field(default_factory=set)
    lost: bool = False

    def copy(self, ds: Dataset, keywords: Iterable[str], depth: int = 0) -> Dataset:
        """Copy these attributes, cleaned, as far as they have a value; depth 0: outside of any sequence."""
        out = Dataset()
        if depth:  # bytes of the source are written as they are; `dicomseg.encode.context.identify` declares it
            out.set_original_encoding(
                is_implicit_vr=False, is_little_endian=True, character_encoding=default_encoding
            )
        for keyword in keywords:
            element = self.element(ds, keyword, depth)
            if element is not None:
                out[element.tag] = element
        return out

    def text(self, ds: Dataset, keyword: str) -> str:
        """Return the complete text of an attribute, decoded and without its padding."""
        stored = stored_value(ds, keyword)
        if isinstance(stored, bytes):
            stored = self.charset.decode(stored, name=dictionary_VR(Tag(keyword)) == "PN")
        return (stored or "").strip(" \0")

    def element(
        self, ds: Dataset, keyword: str, depth: int = 0
    ) -> DataElement | RawDataElement | None:
        """Return one attribute cleaned, None when it is absent, empty or invalid."""
        tag = Tag(keyword)
        vr = dictionary_VR(tag).split(" ", maxsplit=1)[0]
        if tag not in ds:
            return None
        if vr == "SQ":
            return self._sequence(ds, keyword, depth)
        if vr in _NUMBERS:
            return self._number(ds, keyword, vr)
        text = self.text(ds, keyword)
        if not text:
            return None
        parts = (
            [text]
            if vr in _PARAGRAPHS
            else [p.strip(" \0") for p in text.split("\\")][:_MAX_VALUES]
        )
        good = [v for v in (_valid(keyword, vr, p) for p in _single(keyword, vr, parts)) if v]
        if good != parts:
            self.wrong.add(keyword)
        if not good:
            return None
        return self._kept(ds, tag, vr, good, same=good == parts)

    def _kept(
        self, ds: Dataset, tag: BaseTag, vr: str, good: list[str], *, same: bool
    ) -> DataElement | RawDataElement:
        stored = stored_value(ds, keyword_for_tag(tag))
        if self.keep and not all(v.isascii() for v in good) and isinstance(stored, bytes):
            if same and self.charset.keeps(stored, name=vr == "PN"):
                padded = (b := stored.strip(b" \0")) + b" " * (len(b) % 2)
                return RawDataElement(tag, vr, len(padded), padded, 0, False, True)
            self.lost = True
        return DataElement(tag, vr, good if len(good) > 1 else good[0])

    def _number(self, ds: Dataset, keyword: str, vr: str) -> DataElement | None:
        value = attributes.number(ds, keyword)
        integer = None if value is None or vr in {"FL", "FD"} else int(value)
        rule = ENUMERATED.get(keyword)
        if not stored_value(ds, keyword):
            return None
        if value is None or (rule is not None and not rule.fullmatch(str(integer))):
            self.wrong.add(keyword)
            return None
        return DataElement(Tag(keyword), vr, value if integer is None else integer)

    def _sequence(self, ds: Dataset, keyword: str, depth: int) -> DataElement | None:
        kept = []
        for item in attributes.items(ds, keyword)[:_MAX_VALUES]:
            charset = read_charset(item) if "SpecificCharacterSet" in item else self.charset
            reader = AttributeReader(charset, self.keep, self.wrong)
            held = (
                reader.copy(item, _keywords(item), depth + 1) if depth < _MAX_DEPTH else Dataset()
            )
            self.lost |= reader.lost or charset.terms != self.charset.terms
            filled = len(held) > 0  # an item of empty attributes is legal, and says nothing
            if _complete(keyword, held):
                kept.append(held)
            elif filled:
                self.wrong.add(keyword)
        return DataElement(Tag(keyword), "SQ", kept) if kept else None


def _keywords(item: Dataset) -> list[str]:
    """Public attributes of a sequence's item that the dictionary knows, without groups of pixels."""
    known = (
        keyword_for_tag(tag) for tag, _ in item.items() if not tag.is_private and tag.group < 0x6000
    )
    return [
        k for k in known if k and k != "SpecificCharacterSet" and dictionary_VR(Tag(k)) in _COPIED
    ]


_COPIED: Final = frozenset({*values.RULES, *_NUMBERS, "SQ"})


def _single(keyword: str, vr: str, parts: list[str]) -> list[str]:
    """Several values of an attribute that has one: the only different one, a name's first, a text's all in a row."""
    if len(parts) == 1 or dictionary_VM(Tag(keyword)) != "1":
        return parts
    different = list(dict.fromkeys(p for p in parts if p))
    if len(different) == 1 or (vr == "PN" and different):
        return different[:1]
    return [] if _IDENTIFIER.fullmatch(keyword) or vr not in {"LO", "SH"} else [" ".join(different)]


def _valid(keyword: str, vr: str, part: str) -> str | None:
    value = values.RULES[vr](part)
    if value is None:
        return None
    if (
        vr in {"LO", "SH"}
        and _IDENTIFIER.fullmatch(keyword)
        and len(value) < len(values.one_line(part))
    ):
        return None
    rule = ENUMERATED.get(keyword)
    return value if rule is None or rule.fullmatch(value) else None


def _complete(keyword: str, item: Dataset) -> bool:
    """Whether a sequence's item has what it must; half a pair is taken out, a plain type is added."""
    pair = ("UniversalEntityID", "UniversalEntityIDType")
    if any(k in item for k in pair) and not all(k in item for k in pair):
        for k in pair:
            item.pop(k, None)
    if keyword == "OtherPatientIDsSequence" and "TypeOfPatientID" not in item:
        item.TypeOfPatientID = "TEXT"
    if keyword.endswith("CodeSequence"):
        coded = "CodingSchemeDesignator" in item and (
            "CodeValue" in item or "LongCodeValue" in item
        )
        return "CodeMeaning" in item and (coded or "URNCodeValue" in item)
    return len(item) > 0 and all(k in item for k in _NEEDED.get(keyword, ()))


_NEEDED: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "ReferencedStudySequence": ("ReferencedSOPClassUID", "ReferencedSOPInstanceUID"),
        "OtherPatientIDsSequence": ("PatientID",),
    }
)
"""Attributes without which an item of such a sequence says nothing and breaks the standard."""
