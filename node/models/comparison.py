"""The comparison of a candidate with the model in service: what `comparison.json` of a job holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from dicomseg.measurement_names import MAIN_MEASUREMENTS
from dicomseg.structures import BY_ID
from node.errors import RunFileUnreadable
from node.models.case_figures import CaseFigures, compared_cases
from node.models.retraining import CANDIDATE, COMPARISON, VERDICTS, JobDirectory
from node.models.run_files import count, items, mapping, number, read_bytes, read_json, text

IN_SERVICE: Final = "in_service"
SIDES: Final = (IN_SERVICE, CANDIDATE)
WORST: Final = "worst"
MOST_PICTURES: Final = 9
MOST_PNG: Final = 8_000_000
LONGEST_SIDE: Final = 4096
_PNG: Final = b"\x89PNG\r\n\x1a\n"


@dataclass(frozen=True, slots=True)
class StructureRow:
    """One structure: pairs, mean Dice of both models, difference, p of "worse"; None where it was not compared."""

    structure: str
    pairs: int
    in_service: float | None
    candidate: float | None
    difference: float | None
    p_worse: float | None


@dataclass(frozen=True, slots=True)
class MeasurementRow:
    """One measurement: median absolute errors of both models in mm over the pairs, p of "worse", refused values.

    references: cases with a reference value. None where it was not compared.
    """

    measurement: str
    references: int
    pairs: int
    in_service_mm: float | None
    candidate_mm: float | None
    difference_mm: float | None
    p_worse: float | None
    refused_in_service: int
    refused_candidate: int


@dataclass(frozen=True, slots=True)
class Side:
    """One of the two models, and its results of the held-out cases."""

    name: str
    version: str
    digest: str
    cases: tuple[CaseFigures, ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of a worst case: its number from 1, whose model, which case, and a caption."""

    number: int
    side: str
    case: str
    caption: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """Verdict, reasons and notes of the gate; the tables that it rests on; single cases; pictures.

    measured: empty in a comparison of an earlier version, whose rule was of Dice alone. margin: in Dice.
    """

    verdict: str
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    margin: float | None
    margin_mm: float | None
    rows: tuple[StructureRow, ...]
    measured: tuple[MeasurementRow, ...]
    in_service: Side
    candidate: Side
    pictures: tuple[Picture, ...]


def read_comparison(directory: JobDirectory) -> Comparison:
    """Return the comparison of a job. Raises `RunFileUnreadable`."""
    content = read_json(directory.out / COMPARISON)
    verdict = text(content.get("verdict"))
    if verdict not in VERDICTS:
        raise RunFileUnreadable(f"{COMPARISON} is damaged: no verdict")
    return Comparison(
        verdict,
        _texts(content.get("reasons")),
        _texts(content.get("notes")),
        number(mapping(content.get("rule")).get("margin")),
        number(mapping(content.get("rule")).get("margin_mm")),
        table_rows(content.get("table")),
        measurement_rows(content.get("measurements")),
        _side(content.get(IN_SERVICE)),
        _side(content.get(CANDIDATE)),
        tuple(p for p in map(_picture, items(content.get("pictures"), 3 * MOST_PICTURES)) if p),
    )


def table_rows(value: object) -> tuple[StructureRow, ...]:
    """Return the rows of a table as a comparison and the journal hold it; what is no row is left out."""
    return tuple(row for row in map(_row, items(value, 50)) if row is not None)


def _row(value: object) -> StructureRow | None:
    plain = mapping(value)
    name = text(plain.get("structure"))
    if name not in BY_ID:
        return None
    keys = ("in_service", "candidate", "difference", "p_worse")
    values = {key: number(plain.get(key)) for key in keys}
    return StructureRow(name, count(plain.get("pairs")) or 0, **values)


def measurement_rows(value: object) -> tuple[MeasurementRow, ...]:
    """Return the rows of measurements as a comparison and the journal hold them; what is no row is left out."""
    return tuple(row for row in map(_measurement_row, items(value, 50)) if row is not None)


def _measurement_row(value: object) -> MeasurementRow | None:
    plain = mapping(value)
    name = text(plain.get("measurement"))
    if name not in MAIN_MEASUREMENTS:
        return None
    return MeasurementRow(
        name,
        count(plain.get("references")) or 0,
        count(plain.get("pairs")) or 0,
        number(plain.get("in_service_mm")),
        number(plain.get("candidate_mm")),
        number(plain.get("difference_mm")),
        number(plain.get("p_worse")),
        count(plain.get("refused_in_service")) or 0,
        count(plain.get("refused_candidate")) or 0,
    )


def _side(value: object) -> Side:
    plain: Mapping[str, Any] = mapping(value)
    named = {key: text(plain.get(key), 80) for key in ("name", "version", "digest")}
    return Side(**named, cases=compared_cases(plain.get("scores")))


def _texts(value: object) -> tuple[str, ...]:
    return tuple(t for t in map(text, items(value, 50)) if t)


def _picture(value: object) -> Picture | None:
    """Return a picture whose file has the name that this node would give it."""
    plain = mapping(value)
    side, file = text(plain.get("model")), text(plain.get("file"))
    for found in range(1, MOST_PICTURES + 1):
        if side in SIDES and file == f"{WORST}/{found}-{side}.png":
            return Picture(found, side, text(plain.get("case"), 80), text(plain.get("caption")))
    return None


def worst_png(directory: JobDirectory, found: int, side: str) -> bytes:
    """Return a picture as PNG. Raises `RunFileUnreadable`: there is none, or it is something else."""
    if side not in SIDES or not 1 <= found <= MOST_PICTURES:
        raise RunFileUnreadable("there is no such picture")
    content = read_bytes(directory.out / WORST / f"{found}-{side}.png", MOST_PNG)
    size = [int.from_bytes(content[a : a + 4], "big") for a in (16, 20)]
    plain = content.startswith(_PNG) and content[12:16] == b"IHDR"
    if not plain or not all(0 < n <= LONGEST_SIDE for n in size):
        raise RunFileUnreadable(f"{found}-{side}.png is no picture of a comparison")
    return content
