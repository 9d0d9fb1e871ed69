"""Compare what `lumbar-node process` writes in two checkouts, object by object.

    python tests/support/compare_results.py make INPUTS
    python tests/support/compare_results.py run CHECKOUT INPUTS OUT
    python tests/support/compare_results.py compare OUT_BEFORE OUT_AFTER

`make` writes the five fixed inputs with the code of this checkout (`tests/support/study_kinds.py`). Make
them once and let both checkouts read the same files. `run` processes each with the shipped model. `compare` lists
every difference as `path: before → after` under its kind and exits with 1 when there is one that no
other version of the code may have: a number, a pixel, a code, an attribute, a key, a UID of the source or
one that does not map one to one.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import pydicom
from pydicom.dataset import Dataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.support.study_kinds import KINDS, make, python

INPUTS: Final = tuple(KINDS)
FREE: Final = ("uid", "time", "digest", "version", "text")
"""Kinds of difference that another version of the code may have; UIDs only one to one."""

_UID: Final = re.compile(r"2\.25\.[0-9]+|[0-9]+(\.[0-9]+){3,}|[0-9a-f]{32}")
_OWN_UID: Final = re.compile(r"2\.25\.[0-9]+|[0-9a-f]{32}")
_SOURCE_UIDS: Final = {"StudyInstanceUID", "FrameOfReferenceUID", "study", "series", "frame_of_reference"}  # fmt: skip
"""Where a UID of the source is, which stays."""
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_TIMES: Final = {"DA", "TM", "DT"}
_TEXT: Final = re.compile(r"TextValue|CodeMeaning|\w+(Description|Label|Comments)")
"""Attributes that a person reads; all others, a code value or a patient's name, stay."""
_TEXT_KEYS: Final = {"description", "from", "method", "note", "rule", "text", "to", "uncertainty_note"}  # fmt: skip
_VERSIONS: Final = {"SoftwareVersions", "AlgorithmVersion", "CodingSchemeVersion", "software_version", "version"}  # fmt: skip
_TIME_KEYS: Final = {"created", "seconds", "stages_s", "timings_s"}


@dataclass
class Report:
    """Every difference, and which UID became which."""

    lines: list[tuple[str, str, str, str]] = field(default_factory=list)
    forward: dict[str, str] = field(default_factory=dict)
    backward: dict[str, str] = field(default_factory=dict)
    compared: Counter[str] = field(default_factory=Counter)

    def add(self, kind: str, path: str, before: object, after: object) -> None:
        """Note one difference."""
        self.lines.append((kind, path, _short(before), _short(after)))

    def uid(self, path: str, before: str, after: str) -> None:
        """Note a pair of UIDs, equal ones too: a UID that maps to two others is no renaming."""
        self.compared["uid"] += 1
        own = _OWN_UID.fullmatch(before) and _OWN_UID.fullmatch(after)
        if before != after and (not own or re.split(r"[/.:]", path)[-1] in _SOURCE_UIDS):
            self.add("uid of the source", path, before, after)
        elif self.forward.setdefault(before, after) != after:
            self.add("uid not one to one", path, before, f"{after} and {self.forward[before]}")
        elif self.backward.setdefault(after, before) != before:
            self.add("uid not one to one", path, f"{before} and {self.backward[after]}", after)
        elif before != after:
            self.add("uid", path, before, after)

    def value(self, kind: str, path: str, before: object, after: object) -> None:
        """Compare two values of one kind."""
        self.compared[kind] += 1
        if before != after:
            self.add(kind, path, before, after)


def compare_datasets(before: Dataset, after: Dataset, path: str, report: Report) -> None:
    """Compare every attribute of two data sets, sequences item by item, pixels byte by byte."""
    for tag in sorted({*before.keys(), *after.keys()}):
        pair = before.get(tag), after.get(tag)
        known = pair[0] if pair[0] is not None else pair[1]
        here = f"{path}/{known.keyword or tag}"
        if pair[0] is None or pair[1] is None:
            report.add("attribute", here, *("absent" if e is None else e.value for e in pair))
        elif pair[0].VR != pair[1].VR:
            report.add("attribute", here, pair[0].VR, pair[1].VR)
        elif isinstance(pair[0].value, Sequence):
            _compare_items(pair[0].value, pair[1].value, here, report)
        else:
            _compare_elements(pair[0], pair[1], here, report)


def _compare_items(before: Sequence, after: Sequence, path: str, report: Report) -> None:
    if len(before) != len(after):
        report.add("attribute", path, f"{len(before)} items", f"{len(after)} items")
    for number, (one, other) in enumerate(zip(before, after, strict=False)):
        compare_datasets(one, other, f"{path}[{number}]{_concept(one)}", report)


def _concept(item: Dataset) -> str:
    """Name of an SR content item, so that its path can be read."""
    names = item.get("ConceptNameCodeSequence")
    return f"({names[0].get('CodeMeaning', '')})" if names else ""


def _compare_elements(before: Any, after: Any, path: str, report: Report) -> None:
    if before.VR == "UI":
        one, other = (_values(e.value) for e in (before, after))
        if len(one) != len(other):
            report.add("attribute", path, one, other)
        for first, second in zip(one, other, strict=False):
            report.uid(path, str(first), str(second))
    elif isinstance(before.value, bytes):
        count = sum(a != b for a, b in zip(before.value, after.value, strict=False))
        report.compared["bytes"] += len(before.value)
        if before.value != after.value:
            sizes = f"{len(before.value)} bytes", f"{len(after.value)} bytes, {count} differ"
            report.add("pixels", path, *sizes)
    else:
        kind = "text" if _TEXT.fullmatch(before.keyword) else "value"
        kind = "version" if before.keyword in _VERSIONS else "time" if before.VR in _TIMES else kind
        report.value(kind, path, _values(before.value), _values(after.value))


def _values(value: Any) -> list[Any]:
    """The values of an element as a list; an empty one has none."""
    if isinstance(value, MultiValue | list):
        return list(value)
    return [] if value in (None, "") else [value]


def compare_json(before: Any, after: Any, path: str, report: Report, key: str = "") -> None:
    """Compare two JSON values, key by key and item by item."""
    if isinstance(before, dict) and isinstance(after, dict):
        for name in [*before, *(n for n in after if n not in before)]:
            one, other = (d.get(name, "absent") for d in (before, after))
            if name not in before or name not in after:
                report.add("key", f"{path}.{name}", one, other)
            else:
                timed = key if key in _TIME_KEYS else name
                compare_json(one, other, f"{path}.{name}", report, timed)
    elif isinstance(before, list) and isinstance(after, list):
        if len(before) != len(after):
            report.add("key", path, f"{len(before)} items", f"{len(after)} items")
        for number, (one, other) in enumerate(zip(before, after, strict=False)):
            compare_json(one, other, f"{path}[{number}]", report, key)
    elif (kind := _kind_by_key(key)) is not None:
        report.value(kind, path, before, after)
    elif isinstance(before, str) and isinstance(after, str):
        _compare_strings(before, after, path, report, key)
    else:
        report.value("value", path, before, after)


def _kind_by_key(key: str) -> str | None:
    """The kind of a value that its key decides; a file's length follows from its texts, as its digest does."""
    if key in _TIME_KEYS:
        return "time"
    return "version" if key in _VERSIONS else "digest" if key == "bytes" else None


def _compare_strings(before: str, after: str, path: str, report: Report, key: str) -> None:
    if _DIGEST.fullmatch(before) and _DIGEST.fullmatch(after):
        report.value("digest", path, before, after)
    elif _UID.fullmatch(before) and _UID.fullmatch(after):
        report.uid(path, before, after)
    else:
        report.value("text" if key in _TEXT_KEYS else "value", path, before, after)


def compare_outputs(before: Path, after: Path) -> Report:
    """Compare the results of every input that two runs of `run` left."""
    report = Report()
    for name in INPUTS:
        folders = [
            sorted(p.parent for p in (d / name).glob("*/result.json")) for d in (before, after)
        ]
        report.value("key", f"{name}: results", len(folders[0]), len(folders[1]))
        if not folders[0]:
            report.add("key", f"{name}: results", "absent", len(folders[1]))
        for one, other in zip(*folders, strict=False):
            report.uid(f"{name}/", one.name, other.name)
            compare_folders(one, other, name, report)
    return report


def compare_folders(before: Path, after: Path, path: str, report: Report) -> None:
    """Compare two result folders file by file."""
    files = [
        {p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file()}
        for folder in (before, after)
    ]
    for name in sorted(files[0] ^ files[1]):
        report.add("key", f"{path}/{name}", name in files[0], name in files[1])
    for name in sorted(files[0] & files[1]):
        report.compared["file"] += 1
        one, other = before / name, after / name
        if name.endswith(".dcm"):
            sets = [pydicom.dcmread(p) for p in (one, other)]
            compare_datasets(sets[0].file_meta, sets[1].file_meta, f"{path}/{name}", report)
            compare_datasets(sets[0], sets[1], f"{path}/{name}", report)
        elif name.endswith(".json"):
            read = [json.loads(p.read_text(encoding="utf-8")) for p in (one, other)]
            compare_json(read[0], read[1], f"{path}/{name}:", report)
        else:
            report.value("file", f"{path}/{name}", one.read_bytes(), other.read_bytes())


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 300 else f"{text[:300]}… ({len(text)} characters)"


def lines_of(report: Report) -> Iterator[str]:
    """The report for a person: every difference, then the counts."""
    for kind, path, before, after in sorted(report.lines):
        yield f"[{kind}] {path}: {before} → {after}"
    yield ""
    yield f"compared: {dict(sorted(report.compared.items()))}"
    renamed = sum(a != b for a, b in report.forward.items())
    yield f"uids: {len(report.forward)} before, {len(report.backward)} after, {renamed} renamed"
    for kind, count in sorted(Counter(k for k, *_ in report.lines).items()):
        yield f"{count:6d} {kind}{'' if kind in FREE else '   ← must be explained'}"
    yield "equal but for " + ", ".join(FREE) if passed(report) else "NOT equal"


def passed(report: Report) -> bool:
    """Whether only what may differ between versions differs."""
    return all(kind in FREE for kind, *_ in report.lines)


def run(checkout: Path, inputs: Path, out: Path) -> None:
    """Process every input with the code and the shipped model of a checkout."""
    for name in INPUTS:
        done = python(
            checkout, "-m", "node", "process", inputs / name, "--out", out / name,
            "--bundle", checkout / "model" / "bundles" / "lumbar-l45", cwd=inputs,
        )  # fmt: skip
        sys.stdout.write(f"{name}: {done.stdout.strip().splitlines()[-1]}\n")


def main() -> int:
    """Run one of the three commands; 1 when results differ in what they may not."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    for name, *places in (("make", "inputs"), ("run", "checkout", "inputs", "out"), ("compare", "before", "after")):  # fmt: skip
        command = commands.add_parser(name)
        for place in places:
            command.add_argument(place, type=lambda p: Path(p).resolve())
    asked = parser.parse_args()
    if asked.command == "make":
        make(asked.inputs)
    elif asked.command == "run":
        run(asked.checkout, asked.inputs, asked.out)
    else:
        report = compare_outputs(asked.before, asked.after)
        sys.stdout.write("\n".join(lines_of(report)) + "\n")
        return int(not passed(report))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
