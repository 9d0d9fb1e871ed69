"""Write the generated parts of the documents from the tables in code; `--check` only compares.

A part lies between `<!-- begin NAME -->` and `<!-- end NAME -->` in any document of the repository.
"""

from __future__ import annotations

import ast
import json
import re
import sys
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import commands
import conformance
import reference
import scaling_tables
from reference import ROOT, table

from dicomseg.measure.measure import DEFINITIONS
from dicomseg.measure.quantities import QUANTITIES
from dicomseg.measurement_names import MAIN_MEASUREMENTS
from dicomseg.structures import SEGMENTS, STRUCTURES

PACKAGES = ("node", "dicomseg", "model", "cluster", "training")
SIGN = re.compile(r"^(In|Out|Edge|May import): (.+(?:\n(?![A-Z][a-z ]*: ).+)*)", re.MULTILINE)
"""Lines of a room's sign, the docstring of its `__init__.py`."""


def layers() -> str:
    """Render the import contracts of `pyproject.toml`: order of the layers, or what is forbidden to whom."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    rows = []
    for contract in contracts:
        if contract["type"] == "layers":
            rule = " → ".join(contract["layers"])
        else:
            sources, modules = contract["source_modules"], contract["forbidden_modules"]
            rule = f"{', '.join(sources)} ↛ {', '.join(modules)}"
        rows.append((contract["name"], rule))
    return table(("contract", "rule"), rows)


def segments() -> str:
    """Render the ten segments of `dicomseg/structures.py`."""
    rows = []
    for s in SEGMENTS:
        code = s.structure.code
        rows.append((str(s.number), s.label, f"({code.value}, {code.scheme}, {code.meaning})"))
    return table(("segment", "label", "code"), rows)


def further() -> str:
    """Render the values beside the four: name, unit, definition."""
    lengths = [(q.name, "mm", q.method) for q in QUANTITIES if q.name not in MAIN_MEASUREMENTS]
    others = [(what.name, what.unit, what.method) for what in DEFINITIONS]
    return table(
        ("name", "unit", "definition"),
        [(f"`{name}`", _UNITS.get(unit, unit), method) for name, unit, method in lengths + others],
    )


_UNITS = {"mm2": "mm²", "deg": "°"}


def rooms() -> str:
    """Render the signs of all rooms: the docstrings of their `__init__.py`."""
    rows = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).glob("*/__init__.py")):
            text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
            sign = {key: " ".join(value.split()).rstrip(".") for key, value in SIGN.findall(text)}
            moves = " → ".join(filter(None, (sign.get("In", ""), sign.get("Out", ""))))
            name = f"`{package}/{path.parent.name}`"
            rows.append((name, reference.first_line(text), moves, sign.get("Edge", "")))
    return table(("room", "for", "in → out", "state edge"), rows)


def decisions() -> str:
    """Render the index of decisions from their front matter, experiments included."""
    rows = []
    folder = ROOT / "docs" / "adr"
    experiments = ROOT / "docs" / "model" / "experiments"
    for path in sorted([*folder.glob("0*.md"), *experiments.glob("0*.md")], key=lambda p: p.name):
        text = path.read_text(encoding="utf-8")
        front = dict(re.findall(r"^([a-z-]+): (.+)$", text.split("---")[1], re.MULTILINE))
        title = re.search(r"^# (\d{4}) (.+)$", text, re.MULTILINE)
        if title is None:
            raise ValueError(f"{path}: no title with its number")
        link = path.name if path.parent == folder else f"../model/experiments/{path.name}"
        kind = "" if path.parent == folder else " (experiment)"
        later = front.get("superseded-by") or front.get("amended-by", "")
        rows.append(
            (f"[{title[1]}]({link})", title[2] + kind, front["status"], front["date"], later)
        )
    return table(("number", "title", "status", "date", "superseded or amended by"), rows)


def performance() -> str:
    """Render Dice and measurement errors of the shipped bundle, its cross-validation and the paper."""
    card = json.loads((ROOT / "model/bundles/lumbar-l45/card.json").read_text(encoding="utf-8"))
    with (ROOT / "docs/model/performance.toml").open("rb") as file:
        others = tomllib.load(file)["group"]
    groups = [others[0], *map(_group_of, reversed(card["evaluation"])), *others[1:]]
    names = {s.id: s.label for s in STRUCTURES} | {"all": "mean"}
    headings = ("", *(f"{g['title']} (n = {g['n']})" for g in groups))
    rows: list[tuple[str, ...]] = []
    for key, name in names.items():
        rows.append((f"Dice, {name}", *(_number(g["dice"].get(key)) for g in groups)))
    for key in ("OC", "DAA", "DIVC", "PI"):
        cells = (g.get("measurements", {}).get(key) for g in groups)
        rows.append(
            (f"{key}, mm / R", *("–" if c is None else f"{c[0]:.2f} / {c[1]:.3f}" for c in cells))
        )
    return table(headings, rows)


def _group_of(entry: Mapping[str, Any]) -> dict[str, Any]:
    """Return one group of a card's evaluation: means of Dice, error in mm and R."""
    title = entry["cases"].replace("spider", "SPIDER, held out")
    return {
        "title": title.replace("phantom", "unseen phantoms"),
        "n": entry["n"],
        "dice": {key: value["mean"] for key, value in entry["dice"].items()},
        "measurements": {k: (m["mae_mm"], m["r"]) for k, m in entry["measurements"].items()},
    }


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def validators() -> str:
    """Render kind × object × tool; – where the tool is not for the object."""
    found = _validators()
    rows = []
    for kind, objects in found["kinds"].items():
        for number, (name, cells) in enumerate(objects.items()):
            held = (cells.get(column) for column in found["columns"])
            rows.append((kind if number == 0 else "", name, *map(_counted, held)))
    return table(("study", "object", *found["columns"]), rows)


def _counted(cell: list[int] | None) -> str:
    """Return [errors, warnings, known] in words."""
    if cell is None:
        return "–"
    named = zip(cell, ("errors", "warnings", "known"), strict=True)
    return ", ".join(f"{count} {what}" for count, what in named if count) or "ok"


def known_findings() -> str:
    """Render the known findings of the validators with their reasons."""
    rows = [(tool, reason, str(count)) for tool, reason, count in _validators()["known"]]
    return table(("tool", "what it is about", "times"), rows)


def validator_versions() -> str:
    """Render the programs that judged, with their versions."""
    return table(("column", "program", "version"), [tuple(r) for r in _validators()["tools"]])


def _validators() -> dict[str, Any]:
    """Return what `docs/validators.py` counted."""
    text = (ROOT / "docs/reference/validators.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


PARTS: Mapping[str, Callable[[], str]] = {
    "states": reference.transitions,
    "state-values": reference.state_values,
    "audit-events": reference.audit_events,
    "layers": layers,
    "segments": segments,
    "further": further,
    "rooms": rooms,
    "decisions": decisions,
    "performance": performance,
    "validators": validators,
    "validators-known": known_findings,
    "validators-tools": validator_versions,
    "configuration": reference.configuration,
    "profiles": reference.profile_table,
    "readers": reference.reader_table,
    "predicates": reference.predicates,
    "events": reference.event_table,
    "metrics": reference.metric_table,
    "errors": reference.error_table,
    "exit-codes": reference.exit_table,
    "journal": reference.journal_schema,
    **conformance.PARTS,
    **scaling_tables.PARTS,
    "cli-node": lambda: commands.reference("lumbar-node"),
    "cli-train": lambda: commands.reference("lumbar-train"),
    **{
        f"codes-{group}": (lambda group=group: reference.code_table(group))
        for group in ("value", "flag", "warning", "series", "correction")
    },
}


def documents() -> list[Path]:
    """Return the Markdown files of the repository."""
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


def filled(text: str) -> str:
    """Return the document with every generated part renewed."""
    for name in re.findall(r"<!-- begin ([a-z-]+) -->", text):
        body = PARTS[name]()
        pattern = re.compile(rf"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)", re.DOTALL)
        text = pattern.sub(lambda match, body=body: f"{match[1]}{body}\n{match[2]}", text)
    return text


def main() -> int:
    """Write or check; exit 1 when a document is stale."""
    stale = []
    for path in documents():
        old = path.read_text(encoding="utf-8")
        new = filled(old)
        if new != old:
            stale.append(str(path.relative_to(ROOT)))
            if "--check" not in sys.argv:
                path.write_text(new, encoding="utf-8")
    if stale and "--check" in sys.argv:
        sys.stderr.write(f"stale: {', '.join(stale)}; run: python docs/generate.py\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
