"""Content of the two reports, and every code of a result: read from encoded objects and the tables of the encoders."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Final

from conformance_example import inputs, objects
from conformance_objects import IODS, code_text
from pydicom.dataset import Dataset
from pydicom.uid import UID
from reference import documented_codes, table

from dicomseg.encode.further_codes import CODES, UNITS, zone_code
from dicomseg.encode.measurements_sr import _NAMES, _VESSELS, code_of_name, coded_concept
from dicomseg.measure.measure import GRADE_NAMES
from dicomseg.measure.readings import ZONES
from dicomseg.measurement_names import MAIN_MEASUREMENTS, TITLES
from dicomseg.structures import LEFT, PRIVATE_SCHEME, RIGHT, SEGMENTS, Segment

REPORTS: Final = ("measurements.dcm", "volumes.dcm")
_RELATIONS: Final = {
    "CONTAINS": "contains",
    "HAS CONCEPT MOD": "has concept mod",
    "HAS OBS CONTEXT": "has obs context",
    "HAS PROPERTIES": "has properties",
    "INFERRED FROM": "inferred from",
    "SELECTED FROM": "selected from",
}
_FINDING, _GROUP, _REASON = "121071", "125007", "NOTREPORTED"
_TIME_POINT, _VERDICT = "C2348792", "CHANGEVERDICT"
_LEVEL: Final = "the level"
_REFUSED_VALUE: Final = "a value that is refused"
_MOST_CODES: Final = 2
"""Codes that a cell of a content table holds; of more the number."""


@dataclass(slots=True)
class Item:
    """One kind of content item in all reports of one kind, with all values that it has."""

    relation: str
    type: str
    concept: str
    kind: str = ""
    values: dict[str, None] = field(default_factory=dict)
    counts: list[int] = field(default_factory=list)
    items: dict[tuple[str, ...], Item] = field(default_factory=dict)

    @property
    def times(self) -> str:
        """Return how often it is in the item above, least and most."""
        least, most = min(*self.counts, 1), max(self.counts)
        if self.kind and self.kind != _LEVEL:  # as many as the patient has
            least, most = 0, 2
        return "1" if least == most == 1 else f"{least}–{'n' if most > 1 else most}"


def _concept(item: Dataset) -> str:
    names = item.get("ConceptNameCodeSequence")
    return code_text(names[0]) if names else ""


def _kind(item: Dataset) -> str:
    """Return what a measurement group is about; "" for any other item."""
    if f"({_GROUP}," not in _concept(item):
        return ""
    inner = {_concept(i).split(",")[0].strip("("): i for i in item.ContentSequence}
    code = inner[_FINDING].ConceptCodeSequence[0]
    if _TIME_POINT in inner:
        return _of_followup(inner)
    refused = _REASON in inner
    if code.CodeValue in MAIN_MEASUREMENTS:
        measured = any(i.ValueType == "NUM" for i in item.ContentSequence)
        return "a value" if measured else _REFUSED_VALUE if refused else "the grade of the corridor"
    if any(code.CodeValue == s.structure.code.value for s in SEGMENTS):
        return "a segment without voxels" if refused else "a segment"
    if code.CodeValue == "WARNINGS":
        return "all warnings"
    if code.CodingSchemeDesignator != PRIVATE_SCHEME:
        return _LEVEL
    return "a further value that is refused" if refused else "a further value"


def _of_followup(inner: Mapping[str, Dataset]) -> str:
    """Return what a group of a follow-up is about: one kind for values and changes of all names."""
    if _VERDICT in inner:
        return (
            "a change"
            if any(i.ValueType == "NUM" and "CHANGE" in _concept(i) for i in inner.values())
            else "a change that is not given"
        )
    return "a value of a study that is refused" if _REASON in inner else "a value of a study"


def _content(item: Dataset) -> str:
    """Return the value of an item without what differs from patient to patient."""
    kind = item.ValueType
    if kind == "CODE":
        return code_text(item.ConceptCodeSequence[0])
    if kind == "NUM":
        return f"number, unit {code_text(item.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0])}"
    if kind == "SCOORD":
        return str(item.GraphicType)
    if kind in {"IMAGE", "COMPOSITE"}:
        return UID(item.ReferencedSOPSequence[0].ReferencedSOPClassUID).name
    if kind == "CONTAINER" and "ContentTemplateSequence" in item:
        return f"TID {item.ContentTemplateSequence[0].TemplateIdentifier}"
    return {"TEXT": "text", "UIDREF": "UID"}.get(kind, "")


def _add(known: dict[tuple[str, ...], Item], listed: Sequence[Dataset]) -> None:
    """Add the items of one parent to those of other parents of its kind."""
    counts: dict[tuple[str, ...], int] = {}
    for item in listed:
        kind = _kind(item)
        key = (str(item.get("RelationshipType", "")), str(item.ValueType), _concept(item), kind)
        entry = known.setdefault(key, Item(*key))
        counts[key] = counts.get(key, 0) + 1
        entry.values[_content(item)] = None
        _add(entry.items, item.get("ContentSequence", ()))
        _absent(entry)
    for key, entry in known.items():
        entry.counts.append(counts.get(key, 0))


def _absent(entry: Item) -> None:
    """Count an item as missing in the parents that came before its first."""
    most = max((len(i.counts) for i in entry.items.values()), default=0)
    for inner in entry.items.values():
        inner.counts[:0] = [0] * (most - len(inner.counts))


@cache
def _tree(file: str) -> Item:
    root: dict[tuple[str, ...], Item] = {}
    for variant in ("full", "source"):
        _add(root, [objects(variant)[file]])
    _absent(top := Item("", "", "", items=root))
    return top


def content_table(file: str) -> str:
    """Render the content of a report; groups of one kind are one row."""
    rows = [_cells(item, level) for item, level in _walk(_tree(file).items.values(), 0)]
    return table(("nesting, relationship", "type", "concept name", "times", "value"), rows)


def _walk(items: Iterable[Item], level: int) -> Iterator[tuple[Item, int]]:
    for item in items:
        yield item, level
        yield from _walk(item.items.values(), level + 1)


def _cells(item: Item, level: int) -> tuple[str, ...]:
    values = [v for v in item.values if v]
    coded = item.type == "CODE" and len(values) > _MOST_CODES
    shown = f"{len(values)} codes: annex E" if coded else "; ".join(values)
    if item.kind:
        shown = f"**{item.kind}**, {shown}"
    arrow = "&gt; " * level + _RELATIONS.get(item.relation, "")
    return arrow, item.type, item.concept, item.times, shown


def segments_table() -> str:
    """Render the codes of the segments."""
    sides = {
        None: "",
        "left": code_text(coded_concept(LEFT)),
        "right": code_text(coded_concept(RIGHT)),
    }
    rows = []
    for s in SEGMENTS:
        rgb = "#" + "".join(f"{c:02X}" for c in s.structure.rgb)
        code = code_text(coded_concept(s.structure.code))
        rows.append(
            (str(s.number), s.label, code, sides[s.side], f"`lumbar-node:{_track(s)}`", rgb)
        )
    return table(("segment", "label", "property type", "modifier", "tracking id", "sRGB"), rows)


def _track(segment: Segment) -> str:
    structure, side = segment.structure.id, segment.side
    return structure if side is None else f"{structure}.{side}"


def values_table() -> str:
    """Render the codes of the four values and of the grade of the corridor."""
    rows = []
    for name in MAIN_MEASUREMENTS:
        number, derivation = (code_text(coded_concept(c)) for c in _NAMES[name])
        rows.append((f'({name}, {PRIVATE_SCHEME}, "{TITLES[name]}")', number, derivation))
    return table(("finding", "name of the number", "derivation"), rows)


def grades_table() -> str:
    """Render the codes of the corridor's grades."""
    rows = [
        (f'(GRADE{n}, {PRIVATE_SCHEME}, "Grade {n}: {name}")', name)
        for n, name in enumerate(GRADE_NAMES)
    ]
    return table(("code", "free corridor"), rows)


def zones_table() -> str:
    """Render the codes of the zones of the psoas."""
    words = {"A": "before the disc", "P": "behind the disc"}
    rows = [
        (code_text(zone_code(zone)), words.get(zone, f"quarter {n} of the disc from its front"))
        for n, zone in enumerate(ZONES)
    ]
    return table(("code", "place"), rows)


def vessels_table() -> str:
    """Render the finding sites of the two diameters."""
    rows = [(name, code_text(coded_concept(code))) for name, code in _VESSELS.items()]
    return table(("vessel", "finding site"), rows)


def further_table() -> str:
    """Render the values beside the four: finding, number, unit, and what they were found on beside the level."""
    measured = inputs("full").result.measurements
    units = dict.fromkeys(measured.extra, "mm") | {n: m.unit for n, m in measured.further.items()}
    if units.keys() != CODES.keys():
        raise ValueError(
            f"values without a code, or codes without a value: {units.keys() ^ CODES.keys()}"
        )
    rows: dict[tuple[str, ...], list[str]] = {}
    for name, code in CODES.items():
        derived = code.named.get("derivation")
        number = "the same" if code.number is None else code_text(code.number["name"])
        more = f", derivation {code_text(derived)}" if derived else ""
        sites = "; ".join(code_text(coded_concept(site)) for site in code.sites)
        unit = code_text(UNITS[units[name]])
        rows.setdefault((code_text(code.concept), number + more, unit, sites), []).append(
            f"`{name}`"
        )
    headings = ("in result.json", "finding", "name of the number", "unit", "finding sites")
    return table(headings, [(", ".join(names), *cells) for cells, names in rows.items()])


def reasons_table() -> str:
    """Render the codes of refusals, flags and warnings that a report may hold."""
    words = {"value": "reason of a refused value", "warning": "warning"}
    rows = [
        (f"`{code}`", code_text(code_of_name(code)), where)
        for group, where in words.items()
        for code in documented_codes()[group]
    ]
    if len({(cell, where) for _, cell, where in rows}) < len(rows):
        raise ValueError("two reasons have one code, which is cut at 16 characters")
    return table(("code of result.json", "code of the report", "as"), rows)


_USES: Final[Mapping[str, str]] = {
    "ConceptNameCodeSequence": "concept name",
    "ConceptCodeSequence": "value",
    "MeasurementUnitsCodeSequence": "unit",
}


def codes_table() -> str:
    """Render every code in the objects of the example, with its uses."""
    uses: dict[tuple[str, str], dict[str, None]] = {}
    for file in IODS:
        for keyword, code in _codes(objects("full")[file]):
            use = _USES.get(keyword, keyword.removesuffix("Sequence").removesuffix("Code"))
            uses.setdefault((code.CodingSchemeDesignator, code_text(code)), {})[use] = None
    own = {code_text(coded_concept(s.structure.code)) for s in SEGMENTS}
    rows = [
        (text, ", ".join(sorted(found)))
        for (scheme, text), found in sorted(uses.items())
        if scheme != "TEXT 0" and text not in own
    ]
    return table(("code", "used as"), rows)


def _codes(ds: Dataset) -> Iterator[tuple[str, Dataset]]:
    for element in ds:
        if element.VR != "SQ":
            continue
        for item in element.value:
            if "CodeMeaning" in item:
                yield element.keyword, item
            yield from _codes(item)
