"""`python -m tests.fault`: run scenarios and print the table; `make fault` runs all of them at full size.

The name of a broken variant (`tests.fault.broken`) runs it through its scenario; `broken` means all of them.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import sys
import threading
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from tests.fault import table
from tests.fault.broken import VARIANTS
from tests.fault.catalogue import LONGEST_FIRST, SCENARIOS
from tests.fault.objects import Stock
from tests.fault.run import run


@dataclass(frozen=True, slots=True)
class Sizes:
    """Shares of the full size: one for all scenarios, and others by name."""

    text: str
    usual: float
    others: Mapping[str, float]

    @classmethod
    def of(cls, text: str) -> Sizes:
        """Read `1` or `1 net-four=0.25`. Raises ValueError."""
        usual, *rest = text.split()
        named = [word.partition("=") for word in rest]
        return cls(text, float(usual), {name: float(share) for name, _, share in named})

    def __getitem__(self, name: str) -> float:
        return self.others.get(name, self.usual)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fault", description=__doc__)
    environ = os.environ
    parser.add_argument(
        "--scale", type=Sizes.of, default=Sizes.of(environ.get("FAULT_SCALE") or "1"),
        help='share of the full size, e.g. 0.1, or "1 net-four=0.25" with another one for a scenario',
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=int(environ.get("FAULT_SEED") or 0))
    parser.add_argument("--work", type=Path, default=Path(environ.get("FAULT_WORK") or "fault-out"))
    parser.add_argument("--jobs", type=int, default=int(environ.get("FAULT_JOBS") or 2))
    parser.add_argument("--again", action="store_true", help="run what a results file has, too")
    parser.add_argument("scenario", nargs="*", default=(environ.get("SCENARIO") or "").split())
    return parser.parse_args()


@dataclass(slots=True)
class _Runner:
    """Runs scenarios side by side and keeps the results file up to date."""

    options: argparse.Namespace
    seed: int
    work: Path
    rows: list[table.Row]
    began: float = field(default_factory=time.monotonic)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def run(self, name: str) -> None:
        """Run one scenario, or a broken variant through its scenario."""
        variant = VARIANTS.get(name)
        self.say(name, "begins")
        row = run(
            name if variant is None else variant.scenario, self.work, scale=self.options.scale[name],
            seed=self.seed, say=partial(self.say, name), broken=variant,
        )  # fmt: skip
        self.say(name, row.skipped or ("clean" if row.clean else "NOT CLEAN"))
        with self.lock:
            self.rows.append(row)
            order = [*SCENARIOS, *VARIANTS]
            self.rows.sort(key=lambda r: order.index(r.name))
            self._write()

    def say(self, name: str, text: str) -> None:
        """Print one line of progress."""
        with self.lock:
            sys.stdout.write(f"[{time.monotonic() - self.began:5.0f} s] {name}: {text}\n")
            sys.stdout.flush()

    def _write(self) -> None:
        facts = {
            "seed": self.seed,
            "scale": self.options.scale.text,
            "seconds": round(time.monotonic() - self.began),
            "machine": f"{os.cpu_count()} cores, {platform.platform()}",
        }
        content = json.dumps(table.as_json(self.rows, **facts), indent=1)
        (self.work / "results.json").write_text(content, encoding="utf-8")


def main() -> int:
    """Run; returns 0 when every row is clean."""
    options = _options()
    known = [*SCENARIOS, *VARIANTS, "broken"]
    unknown = [n for n in options.scenario if n not in known]
    if unknown:
        sys.stderr.write(f"no scenario {unknown[0]}; there are: {', '.join(known)}\n")
        return 2
    seed = options.seed or random.SystemRandom().randrange(1, 1_000_000)
    work = options.work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    chosen = list(VARIANTS) if options.scenario == ["broken"] else options.scenario
    rows = [] if chosen or options.again else _earlier(work / "results.json", options.scale.text)
    done = {r.name for r in rows}
    todo = [n for n in chosen or LONGEST_FIRST if n not in done]
    sys.stdout.write(
        f"seed {seed}, scale {options.scale.text}, {options.jobs} side by side, below {work}\n"
        + (f"from an earlier run: {', '.join(sorted(done))}\n" if done else "")
    )
    Stock.of(work / "stock")
    runner = _Runner(options, seed, work, rows)
    with ThreadPoolExecutor(options.jobs) as pool:
        for future in [pool.submit(runner.run, name) for name in todo]:
            future.result()
    spent = time.monotonic() - runner.began
    sys.stdout.write(f"\n{table.text(rows)}\n\nseed {seed}; {spent:.0f} s; {work}/results.json\n")
    return 0 if all(r.clean for r in rows) else 1


def _earlier(results: Path, scale: str) -> list[table.Row]:
    """Rows of an interrupted run of the same size; a row with a finding is run again."""
    if not results.exists():
        return []
    content = json.loads(results.read_text(encoding="utf-8"))
    rows = [table.Row(**row) for row in content["rows"]]
    whole = {r.name for r in rows if r.clean} == set(SCENARIOS)
    return [r for r in rows if r.clean] if content["scale"] == scale and not whole else []


if __name__ == "__main__":
    sys.exit(main())
