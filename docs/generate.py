"""Write the generated parts of the documents from the tables in code; `--check` only compares.

A part stands between `<!-- begin NAME -->` and `<!-- end NAME -->`.
"""

from __future__ import annotations

import re
import sys
import tomllib
from collections.abc import Callable, Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from dicomseg.structures import SEGMENTS
from node.journal.states import DELIVERY_TRANSITIONS, JOB_TRANSITIONS, SERIES_TRANSITIONS

ROOT = Path(__file__).resolve().parents[1]


def _transitions(title: str, table: Mapping[tuple[Any, Any], Any]) -> list[str]:
    rows = sorted((str(event), str(target), str(state)) for (state, event), target in table.items())
    lines = []
    for (event, target), group in groupby(rows, key=lambda row: row[:2]):
        lines.append(f"| {title} | {', '.join(row[2] for row in group)} | `{event}` | {target} |")
    return lines


def states() -> str:
    """Render the state table of `node/journal/states.py`."""
    rows = [
        *_transitions("series", SERIES_TRANSITIONS),
        *_transitions("delivery", DELIVERY_TRANSITIONS),
        *_transitions("job", JOB_TRANSITIONS),
    ]
    return "\n".join(["| thing | from | event | to |", "|---|---|---|---|", *rows])


def layers() -> str:
    """Render the import contracts of `pyproject.toml`."""
    with (ROOT / "pyproject.toml").open("rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    lines = ["| rule | type |", "|---|---|"]
    return "\n".join([*lines, *(f"| {c['name']} | {c['type']} |" for c in contracts)])


def segments() -> str:
    """Render the ten segments of `dicomseg/structures.py`."""
    lines = ["| segment | label | code |", "|---|---|---|"]
    for s in SEGMENTS:
        code = s.structure.code
        lines.append(f"| {s.number} | {s.label} | ({code.value}, {code.scheme}, {code.meaning}) |")
    return "\n".join(lines)


PARTS: Mapping[str, Callable[[], str]] = {"states": states, "layers": layers, "segments": segments}
DOCUMENTS = ("ARCHITECTURE.md", "README.md")


def filled(text: str) -> str:
    """Return the document with every generated part renewed."""
    for name, render in PARTS.items():
        pattern = re.compile(rf"(<!-- begin {name} -->\n).*?(<!-- end {name} -->)", re.DOTALL)
        body = render()
        text = pattern.sub(lambda match, body=body: f"{match[1]}{body}\n{match[2]}", text)
    return text


def main() -> int:
    """Write or check; exit 1 when a document is stale."""
    stale = []
    for document in DOCUMENTS:
        path = ROOT / document
        old = path.read_text()
        new = filled(old)
        if new != old:
            stale.append(document)
            if "--check" not in sys.argv:
                path.write_text(new)
    if stale and "--check" in sys.argv:
        sys.stderr.write(f"stale: {', '.join(stale)}; run: python docs/generate.py\n")
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
