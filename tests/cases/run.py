"""Make the cases beside the repository, run them, and print a table: case, before, now, why."""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import files
import service
from bench import CASES, Bench

WAITING = {"pi-row-blank", "same-series-number", "refusal-blacks-viewport"}
"""Judged in a browser or by another tool (tests/end_to_end/test_browser_matrix.py), not here."""

Check = Callable[[Bench], str]


@dataclass(frozen=True)
class Row:
    """One line of the table; `why` is empty when the outcome is right."""

    group: str
    name: str
    before: str
    why: str
    seconds: float


def known() -> dict[str, tuple[str, str]]:
    """Outcome of the first trial by case: (group, verdict), from INDEX.md."""
    found = {}
    for line in (CASES / "INDEX.md").read_text(encoding="utf-8").splitlines():
        cells = [c.strip() for c in line.strip("|").split("|")]
        if len(cells) == 4 and re.fullmatch(r"fault|in|operate|out", cells[0]):
            found[cells[1]] = (cells[0], cells[3])
    return found


def run(name: str, group: str, before: str, check: Check, bench: Bench) -> Row:
    """Run one case; a check that raises is a wrong outcome, and the next case follows."""
    began = time.monotonic()
    try:
        why = check(bench)
    except Exception as error:  # noqa: BLE001 - one case must not end the table
        why = f"{type(error).__name__}: {error}"
    return Row(group, name, before, " ".join(why.split())[:300], time.monotonic() - began)


def line(row: Row) -> str:
    """One row as Markdown."""
    now = "right" if not row.why else "WRONG"
    return f"| {row.group} | {row.name} | {row.before or 'open'} | {now} | {row.why} |"


def main() -> int:
    """Run the chosen cases; 0 when all are right, 3 without the cases."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("wanted", nargs="*", help="groups or names; default: all")
    parser.add_argument("--keep", type=Path, help="folder for everything that is made")
    given = parser.parse_args()
    if not CASES.is_dir():
        print(f"{CASES} is not there; nothing to run", file=sys.stderr)
        return 3
    checks: Mapping[str, Check] = {**files.CHECKS, **service.CHECKS}
    table = known()
    missing = sorted(
        set(table) - set(checks) - WAITING - {n for n, (g, _) in table.items() if g == "import"}
    )
    print("| group | case | before | now | why |\n|---|---|---|---|---|", flush=True)
    rows = []
    with ExitStack() as stack:
        folder = given.keep or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        for name, check in checks.items():
            group, before = table.get(name, ("own", ""))
            if given.wanted and group not in given.wanted and name not in given.wanted:
                continue
            row = run(name, group, before, check, Bench(folder.resolve(), group, name))
            rows.append(row)
            print(line(row), flush=True)
    wrong = [r for r in rows if r.why]
    print(
        f"\n{len(rows) - len(wrong)} of {len(rows)} right; no check for: {', '.join(missing) or 'none'}"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
