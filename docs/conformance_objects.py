"""Attributes of the objects that a result consists of: module, type, presence and source of each.

Read from encoded objects: an attribute that changes with the source, the configuration or the run follows from it.
Modules and types are those of PS3.3 as highdicom holds them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any, Final

import highdicom
from conformance_example import LABEL_MAP, NOTE, VARIANTS, VERIFIED, encoded, objects
from conformance_followup import FOLLOWUPS
from pydicom.datadict import dictionary_description
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.tag import Tag
from reference import table

Found = dict[tuple[str, ...], set[str]]
"""Path of keywords to the different values there, in all items of the sequences above it."""

IODS: Final[Mapping[str, str]] = {
    "seg.dcm": "Segmentation",
    "midplane.dcm": "MR Image",
    "measurements.dcm": "Comprehensive 3D SR",
    "volumes.dcm": "Comprehensive 3D SR",
    "summary.dcm": "Secondary Capture Image",
    "report.dcm": "Encapsulated PDF",
    "surface.dcm": "Encapsulated STL",
    "followup.dcm": "Comprehensive 3D SR",
    "followup_page.dcm": "Secondary Capture Image",
    "followup_report.dcm": "Encapsulated PDF",
    NOTE: "Key Object Selection Document",
    VERIFIED: "Comprehensive 3D SR",
}
RESULT: Final = tuple(file for file in IODS if file not in {NOTE, VERIFIED, *FOLLOWUPS})
_SEQUENCE, _BULK = "\0sequence", frozenset({"PixelData", "EncapsulatedDocument"})
_IN_ANNEX_B: Final = frozenset({"ContentSequence"})
_LONGEST: Final = 200
"""Characters of a value that are printed."""


@dataclass(frozen=True, slots=True)
class Row:
    """One attribute as a statement lists it."""

    path: tuple[str, ...]
    module: str
    type: str
    presence: str
    source: str
    value: str

    @property
    def tag(self) -> str:
        """Return the tag of the attribute itself."""
        tag = Tag(self.path[-1])
        return f"({tag.group:04X},{tag.element:04X})"

    def cells(self, module: str) -> tuple[str, ...]:
        """Return the cells of a table. module: of the row above, which is not repeated."""
        name = "> " * (len(self.path) - 1) + dictionary_description(self.path[-1])
        shown = "" if self.module == module else _title(self.module)
        return (
            shown,
            name.replace("> ", "&gt; "),
            self.tag,
            self.type,
            self.presence,
            self.source,
            self.value,
        )


HEADINGS: Final = ("module", "attribute", "tag", "type", "presence", "source", "value")


def _flat(ds: Dataset, above: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yield path and value of every attribute; a coded entry is one value."""
    for element in ds:
        path = (*above, element.keyword)
        if element.tag.is_private:
            raise ValueError(f"{path}: the statement says that there are no private attributes")
        if element.keyword in _IN_ANNEX_B:
            continue
        if element.VR == "SQ":
            yield path, _SEQUENCE if element.value else ""
            for item in element.value:
                if "CodeMeaning" in item:
                    yield path, code_text(item)
                    inner = {k for k in item.dir() if k.endswith("Sequence")}
                    for keyword in inner:
                        yield from (((*path, keyword), code_text(i)) for i in item[keyword].value)
                else:
                    yield from _flat(item, path)
        else:
            yield path, _text(element)


def code_text(item: Dataset) -> str:
    """Return a coded entry as PS3.16 writes one."""
    value = item.get("CodeValue") or item.get("LongCodeValue")
    return f'({value}, {item.CodingSchemeDesignator}, "{item.CodeMeaning}")'


def _text(element: DataElement) -> str:
    if element.keyword in _BULK:
        return f"\0{hashlib.sha256(bytes(element.value)).hexdigest()}"
    if element.value is None or element.VM == 0:
        return ""
    many: Any = element.value if element.VM > 1 else [element.value]
    return "\\".join(str(v) for v in many)


@cache
def found(variant: str, file: str) -> Found:
    """Return all paths of an object with their values."""
    out: Found = {}
    for path, value in _flat(encoded(variant, file)):
        out.setdefault(path, set()).add(value)
    return out


def _paths(file: str) -> list[tuple[str, ...]]:
    """Return the paths of an object in any variant."""
    return list(dict.fromkeys(path for variant in VARIANTS for path in found(variant, file)))


def _source(path: tuple[str, ...], file: str) -> str:
    """Return what the values follow from."""
    full = found("full", file).get(path)
    names = {"source": "SOURCE", "config": "CONFIG", "run": "AUTO"}
    changed = [word for name, word in names.items() if found(name, file).get(path) != full]
    return ", ".join(changed) or "FIXED"


def _presence(path: tuple[str, ...], file: str) -> str:
    """Return when an attribute is there, and whether it then has a value."""
    full, bare, first = (found(v, file).get(path) for v in ("full", "bare", "first"))
    if full == {""}:
        return "EMPTY"
    if full is None:
        return "ANAP: in source"
    if first is None:
        return "ANAP: configured" if path == ("StationName",) else "ANAP: replaces"
    if bare is None:
        return "ANAP: in source"
    return "VNAP" if bare == {""} else "ALWAYS"


def _value(path: tuple[str, ...], file: str, source: str) -> str:
    values = found("full", file).get(path, set()) - {_SEQUENCE, ""}
    if source != "FIXED" or not values or any("\0" in v for v in values):
        return ""
    shown = "; ".join(sorted(values, key=lambda v: (len(v), v)))
    return shown if len(shown) <= _LONGEST else f"{len(values)} values: annex E"


@cache
def _standard(name: str) -> Any:
    """Return one of highdicom's tables of PS3.3: modules of an IOD, attributes of a module."""
    folder = Path(highdicom.__file__).parent / "_standard"
    return json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))


@cache
def _modules(sop_class: str) -> Mapping[tuple[str, ...], tuple[int, str, str]]:
    """Return order, module and type of every attribute of an IOD; mandatory modules before others."""
    iod = _standard("sop_class_iod_map")[sop_class]
    listed = _standard("iod_module_map")[iod]
    out: dict[tuple[str, ...], tuple[int, str, str]] = {}
    for order, module in sorted(enumerate(listed), key=lambda m: m[1]["usage"] != "M"):
        for attribute in _standard("module_attribute_map")[module["key"]]:
            path = (*attribute["path"], attribute["keyword"])
            out.setdefault(path, (order, module["key"], attribute["type"]))
    return out


@cache
def rows(file: str) -> tuple[Row, ...]:
    """Return every attribute of an object, by module and tag."""
    known = _modules(str(encoded("full", file).SOPClassUID))
    out = []
    for path in _paths(file):
        order, module, kind = known.get(path, (99, "", "–"))
        source = _source(path, file)
        row = Row(path, module, kind, _presence(path, file), source, _value(path, file, source))
        out.append((order, [Tag(k) for k in path], row))
    return tuple(row for *_, row in sorted(out, key=lambda r: r[:2]))


def _parts(file: str) -> dict[str, tuple[Row, ...]]:
    """Return the rows of an object by the attribute at its top that they belong to."""
    out: dict[str, tuple[Row, ...]] = {}
    for row in rows(file):
        out[row.path[0]] = (*out.get(row.path[0], ()), row)
    return out


def _alike(some: Sequence[Row], others: Sequence[Row]) -> bool:
    """Return whether an attribute and all in it are alike, whatever module the IODs have it in."""
    return [_plain(r) for r in some] == [_plain(r) for r in others]


def _plain(row: Row) -> Row:
    return replace(row, module="", type="")


@cache
def shared() -> Mapping[str, tuple[Row, ...]]:
    """Return the attributes that all objects of a result have alike, with the modules and types of all."""
    first, *others = (_parts(file) for file in RESULT)
    out = {}
    for keyword, own in first.items():
        if all(_alike(own, other.get(keyword, ())) for other in others):
            columns = zip(own, *(other[keyword] for other in others), strict=True)
            out[keyword] = tuple(_merged(column) for column in columns)
    return out


def _merged(column: Sequence[Row]) -> Row:
    modules = list(dict.fromkeys(row.module for row in column))
    types = sorted({row.type for row in column})
    one = len(modules) == 1
    series = all("series" in m for m in modules)
    module = modules[0] if one else "series" if series else "content"
    return replace(column[0], module=module, type=" or ".join(types))


def _title(module: str) -> str:
    words = " ".join(
        w.upper() if w in {"sop", "mr", "sr", "sc", "voi"} else w.title() for w in module.split("-")
    )
    return f"**{words}**" if words else "**added to the IOD**"


def _table(listed: Iterable[Row]) -> str:
    cells, module = [], "\0"
    for row in listed:
        cells.append(row.cells(module))
        module = row.module
    return table(HEADINGS, cells)


def differing(file: str, other: str) -> str:
    """Render the attributes of one object that differ from those of another."""
    known = {_plain(row) for row in rows(other)}
    return _table(row for row in rows(file) if _plain(row) not in known)


def overview() -> str:
    """Render the objects that are created, with their series."""
    if objects("full").keys() != IODS.keys():
        raise ValueError(f"objects without a chapter: {objects('full').keys() ^ IODS.keys()}")
    rows = []
    for file, iod in IODS.items():
        ds, bare = objects("full")[file], objects("bare")[file]
        number = (
            f"{bare.SeriesNumber}"
            if ds.SeriesNumber == bare.SeriesNumber
            else f"{ds.SeriesNumber} or {bare.SeriesNumber}"
        )
        rows.append((f"`{file}`", iod, str(ds.SOPClassUID), ds.Modality, number))
    return table(("object", "IOD", "SOP class UID", "modality", "series number"), rows)


def shared_table() -> str:
    """Render the attributes that all objects of a result have alike."""
    flat = [row for part in shared().values() for row in part]
    order = list(dict.fromkeys(row.module for row in flat))
    return _table(sorted(flat, key=lambda row: order.index(row.module)))


def iod_table(*files: str) -> str:
    """Render the attributes of an object that the shared table lacks; of two alike both."""
    own = [row for file in files for row in rows(file) if not _is_shared(row, file)]
    return _table(sorted(dict.fromkeys(own), key=lambda r: [x.path for x in own].index(r.path)))


def _is_shared(row: Row, file: str) -> bool:
    keyword = row.path[0]
    return keyword in shared() and _alike(shared()[keyword], _parts(file)[keyword])


def label_map_table() -> str:
    """Render the attributes in which a label map differs from the segmentation of the result folder."""
    usual = set(rows("seg.dcm"))
    listed = [row for row in rows(LABEL_MAP) if row not in usual]
    return table(HEADINGS[1:], [(_full_name(row), *row.cells("")[2:]) for row in listed])


def _full_name(row: Row) -> str:
    return " &gt; ".join(dictionary_description(keyword) for keyword in row.path)


def lacking(file: str) -> str:
    """Return the names of shared attributes that an object lacks."""
    here = {row.path[0] for row in rows(file)}
    return ", ".join(dictionary_description(k) for k in shared() if k not in here) or "none"
