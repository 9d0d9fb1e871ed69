"""`python -m tests.fault.document RESULTS [RESULTS …]`: put the table of results files into docs/reliability.md."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Final

from tests.fault import table
from tests.fault.catalogue import SCENARIOS
from tests.support.paths import ROOT

_BLOCK: Final = re.compile(
    r"(<!-- table of make fault -->\n).*?(<!-- end of the table of make fault -->)", re.DOTALL
)


def block(contents: list[dict[str, object]]) -> str:
    """Write the table with how it was made; of a scenario that is in several files the last one counts."""
    rows: dict[str, table.Row] = {}
    for content in contents:
        listed = content["rows"]
        assert isinstance(listed, list)
        rows |= {row["name"]: table.Row(**row) for row in listed}
    ordered = [rows[name] for name in SCENARIOS if name in rows]
    made = dict.fromkeys(
        f'`FAULT_SCALE="{c["scale"]}" FAULT_SEED={c["seed"]}`, {c["machine"]}' for c in contents
    )
    notes = [f"- `{r.name}`: {note}" for r in ordered for note in r.notes]
    skipped = [f"- `{r.name}`: skipped, {r.skipped}" for r in ordered if r.skipped]
    lines = [f"Made by `make fault` with {'; '.join(made)}.", "", table.markdown(ordered), ""]
    return "\n".join([*lines, *notes, *skipped]) + "\n"


def main() -> int:
    """Rewrite the block of the page."""
    contents = [json.loads(Path(name).read_text(encoding="utf-8")) for name in sys.argv[1:]]
    if not contents:
        sys.stderr.write(f"{__doc__}\n")
        return 2
    page = ROOT / "docs" / "reliability.md"
    text = page.read_text(encoding="utf-8")
    new = _BLOCK.sub(lambda m: m.group(1) + block(contents) + m.group(2), text)
    page.write_text(new, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
