"""The matrix object × destination of `echo` and `check-config`: plain text of 80 columns, or JSON."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from typing import Any, Final

from dicomseg.implementation import LABEL_MAP_STORAGE
from node.deliver.echo import EchoResult
from node.deliver.offers import Acceptance, class_title, syntax_title

WIDTH: Final = 80
_GAP: Final = "  "
_LONGEST_NAME: Final = 24
_NOT_SENT, _UNKNOWN, _REFUSED = "-", "not known", "REFUSED"


def matrix_lines(results: Sequence[EchoResult]) -> Iterator[str]:
    """Yield the matrix, in parts that fit 80 columns, then what the words in it mean and every refusal's remedy.

    Destinations that do not respond have no column.
    """
    asked = [r for r in results if r.answers and r.objects]
    if not asked:
        return
    files = list(dict.fromkeys(o.offer.file for r in asked for o in r.objects))
    first = ["object", *files]
    columns = [[_shortened(r.name), *(_cell(r, file) for file in files)] for r in asked]
    for part in _parts(first, columns):
        yield ""
        yield from _aligned([first, *part])
    yield ""
    yield from _legend({cell for column in columns for cell in column[1:]})
    for result in asked:
        for one in result.objects:
            if one.value == "refused":
                text = f"{result.name}: {one.offer.file} refused: {one.remedy}"
                yield from textwrap.wrap(text, WIDTH, subsequent_indent="  ")


def result_json(result: EchoResult) -> dict[str, Any]:
    """Return one destination for programs; `accepted` is null where the peer cannot be asked beforehand."""
    return {
        "name": result.name,
        "answers": result.answers,
        "text": result.text,
        "objects": [_object_json(o) for o in result.objects],
    }


def _object_json(one: Acceptance) -> dict[str, Any]:
    accepted = {"accepted": True, "refused": False, "unknown": None}[one.value]
    return {
        "file": one.offer.file,
        "sop_class": one.offer.sop_class,
        "class": class_title(one.offer.sop_class),
        "offered": list(one.offer.syntaxes),
        "accepted": accepted,
        "transfer_syntax": one.syntax or None,
        "remedy": one.remedy or None,
    }


def _cell(result: EchoResult, file: str) -> str:
    one = next((o for o in result.objects if o.offer.file == file), None)
    if one is None:
        return _NOT_SENT
    if one.value == "refused":
        return _REFUSED
    form = "label map" if one.offer.sop_class == LABEL_MAP_STORAGE else ""
    syntax = syntax_title(one.syntax) if one.syntax else _UNKNOWN
    return ", ".join(filter(None, (form, syntax)))


def _legend(cells: set[str]) -> Iterator[str]:
    words = {word for cell in cells for word in cell.split(", ")}
    meanings = {
        "explicit": "Explicit VR Little Endian",
        "implicit": "Implicit VR Little Endian",
        "RLE": "RLE Lossless",
        _UNKNOWN: "DICOMweb has no such question; the first delivery shows it",
        _NOT_SENT: "not sent",
    }
    known = [f"{word} = {meaning}" for word, meaning in meanings.items() if word in words]
    yield from _wrapped(known)


def _wrapped(parts: Sequence[str]) -> Iterator[str]:
    """Yield the parts joined by semicolons, in lines of the width."""
    line = ""
    for part in parts:
        joined = f"{line}; {part}" if line else part
        if line and len(joined) > WIDTH:
            yield line
            joined = part
        line = joined
    if line:
        yield line


def _parts(first: Sequence[str], columns: Sequence[Sequence[str]]) -> Iterator[list[Sequence[str]]]:
    """Yield the columns in groups that fit the width beside the first column."""
    group: list[Sequence[str]] = []
    for column in columns:
        if group and _width([first, *group, column]) > WIDTH:
            yield group
            group = []
        group.append(column)
    yield group


def _width(columns: Sequence[Sequence[str]]) -> int:
    return sum(max(map(len, column)) for column in columns) + len(_GAP) * (len(columns) - 1)


def _aligned(columns: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in columns]
    for row in zip(*columns, strict=True):
        yield _GAP.join(cell.ljust(w) for cell, w in zip(row, widths, strict=True)).rstrip()


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
