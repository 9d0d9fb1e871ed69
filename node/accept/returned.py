"""What came back beside what was sent, as checks (pure)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from pydicom.dataset import Dataset
from pydicom.uid import UID

from dicomseg.read import attributes
from node.accept.checks import Check, Outcome, passes
from node.accept.compare import (
    Change,
    PixelDifference,
    Weight,
    compare_elements,
    compare_pixels,
    document,
)

MOST_NAMED: Final = 4
"""Elements that a line names; the page lists all."""
_PATIENT: Final = ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "IssuerOfPatientID",
                   "StudyInstanceUID", "AccessionNumber", "StudyID")  # fmt: skip
_HARM: Final = "the archive rewrites what the results depend on; turn that off for this node, or choose another archive"


@dataclass(frozen=True, slots=True, eq=False)
class Pair:
    """An object and its copy; changes of elements, and of the content (pixels or document)."""

    name: str
    changes: tuple[Change, ...]
    syntaxes: tuple[str, str]
    pixels: PixelDifference | None = None
    fault: str = ""
    """Why the content cannot be compared, or how a document differs."""


def pair(name: str, sent: Dataset, got: Dataset) -> Pair:
    """Compare an object with its copy, which may be damaged in any way."""
    syntaxes = (str(sent.file_meta.TransferSyntaxUID), str(got.file_meta.TransferSyntaxUID))
    try:
        changes = compare_elements(sent, got)
    except Exception as error:  # noqa: BLE001 - pydicom raises what it likes on damaged bytes
        return Pair(name, (), syntaxes, fault=f"cannot be read ({type(error).__name__})")
    if "EncapsulatedDocument" in sent:
        fault = "" if document(sent) == document(got) else "the document has other bytes"
        return Pair(name, changes, syntaxes, fault=fault)
    if "PixelData" not in sent:
        return Pair(name, changes, syntaxes)
    try:
        difference = compare_pixels(sent.pixel_array, got.pixel_array)
    except Exception as error:  # noqa: BLE001 - as above
        fault = f"pixels cannot be read ({type(error).__name__})"
        return Pair(name, changes, syntaxes, fault=fault)
    return Pair(name, changes, syntaxes, difference)


# ---- checks --------------------------------------------------------------------------------------


def content_check(group: str, pairs: Sequence[Pair]) -> Check:
    """Check that pixels and documents came back as they were."""
    wrong = [p for p in pairs if p.pixels is not None or p.fault]
    lines = _alike([(p.name, p.fault or (p.pixels.text if p.pixels else "")) for p in wrong])
    seen = (
        f"equal in all {len(pairs)}"
        if not wrong
        else f"{len(wrong)} of {len(pairs)} differ; {lines[0]}"
    )
    remedy = (
        ""
        if not wrong
        else "the archive changes pixels (lossy compression, flip, crop); turn that off"
    )
    return Check(group, "Pixels and documents, decoded", "equal, value by value", seen, passes(not wrong), remedy, details=lines)  # fmt: skip


def elements_check(group: str, pairs: Sequence[Pair]) -> Check:
    """Check that geometry, references and values came back as they were."""
    grave = _weighed(pairs, "grave")
    outcome = passes(not grave)
    return Check(
        group, "Elements of image, geometry, references, values", "as sent", _seen(grave, len(pairs)), outcome,
        "" if not grave else _HARM, details=_lines(grave, len(pairs)),
    )  # fmt: skip


def coerced_check(group: str, pairs: Sequence[Pair]) -> Check:
    """Note what the archive changed of patient, study and its own elements."""
    coerced = _weighed(pairs, "coerced")
    outcome: Outcome = "noted" if coerced else "passed"
    return Check(
        group, "Coercion of patient, study and archive elements", "none, or alike in all objects",
        _seen(coerced, len(pairs)), outcome, details=_lines(coerced, len(pairs)),
    )  # fmt: skip


def private_check(group: str, pairs: Sequence[Pair]) -> Check:
    """Note whether private elements were kept; no result depends on one."""
    private = _weighed(pairs, "private")
    removed = {key: n for key, n in private.items() if key[1] != "added"}
    seen = "kept" if not removed else _seen(removed, len(pairs))
    outcome: Outcome = "noted" if removed else "passed"
    return Check(group, "Private elements", "kept; no result needs them", seen, outcome, details=_lines(private, len(pairs)))  # fmt: skip


def syntax_check(group: str, pairs: Sequence[Pair]) -> Check:
    """Note in which transfer syntax the copies came."""
    became = Counter((_title(a), _title(b)) for p in pairs for a, b in [p.syntaxes])
    changed = {k: n for k, n in became.items() if k[0] != k[1]}
    lines = tuple(f"{a} became {b} ({n})" for (a, b), n in changed.items())
    expected = " and ".join(dict.fromkeys(a for a, _ in became))
    seen = "the same" if not changed else "; ".join(lines)
    outcome: Outcome = "noted" if changed else "passed"
    return Check(group, "Transfer syntax", expected, seen, outcome, details=lines)


def identity_check(group: str, copies: Iterable[Dataset]) -> Check:
    """Check that images and results came back under one patient and study."""
    held = [tuple(attributes.text(ds, k) for k in _PATIENT) for ds in copies]
    apart = [k for n, k in enumerate(_PATIENT) if len({h[n] for h in held}) > 1]
    seen = "the same in all objects" if not apart else f"{', '.join(apart)} differ"
    remedy = (
        "" if not apart else "the archive files images and results apart; see its coercion rules"
    )
    return Check(group, "Patient, study and accession", "the same in images and results", seen, passes(not apart), remedy)  # fmt: skip


def _alike(faults: Sequence[tuple[str, str]]) -> tuple[str, ...]:
    """Return one line per fault, with the objects that have it: the first by name, the others counted."""
    names: dict[str, list[str]] = {}
    for name, text in faults:
        names.setdefault(text, []).append(name)
    return tuple(
        f"{held[0]}{f' and {len(held) - 1} more' if len(held) > 1 else ''}: {text}"
        for text, held in names.items()
    )


_Key = tuple[str, str]


def _weighed(pairs: Sequence[Pair], weight: Weight) -> Mapping[_Key, tuple[int, float | None]]:
    """Changes of one weight by (path without item numbers, kind): in how many objects, largest difference."""
    found: dict[_Key, tuple[int, float | None]] = {}
    for one in pairs:
        here: dict[_Key, float | None] = {}
        for change in (c for c in one.changes if c.weight == weight):
            key: _Key = (_without_numbers(change.path), change.kind)
            here[key] = max(here.get(key) or 0.0, change.by or 0.0) or None
        for key, by in here.items():
            count, largest = found.get(key, (0, None))
            found[key] = (count + 1, max(largest or 0.0, by or 0.0) or None)
    return found


def _without_numbers(path: str) -> str:
    return ".".join(part.partition("[")[0] for part in path.split("."))


def _lines(found: Mapping[_Key, tuple[int, float | None]], of: int) -> tuple[str, ...]:
    return tuple(
        f"{path} {kind}{f' by up to {by:.2g}' if by else ''} in {count} of {of}"
        for (path, kind), (count, by) in found.items()
    )


def _seen(found: Mapping[_Key, tuple[int, float | None]], of: int) -> str:
    if not found:
        return f"all {of} as sent"
    lines = _lines(found, of)
    more = len(lines) - MOST_NAMED
    return "; ".join(lines[:MOST_NAMED]) + (f"; and {more} more" if more > 0 else "")


def _title(syntax: str) -> str:
    return str(UID(syntax).name)
