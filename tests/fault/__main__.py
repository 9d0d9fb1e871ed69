"""`python -m tests.fault`: run scenarios and print the table; `make fault` runs all of them at full size."""

from __future__ import annotations

import argparse
import json
import os
import platform
import random
import sys
import time
from pathlib import Path

from tests.fault import table
from tests.fault.broken import VARIANTS
from tests.fault.catalogue import SCENARIOS
from tests.fault.run import run


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.fault", description=__doc__)
    environ = os.environ
    parser.add_argument("--scale", type=float, default=float(environ.get("FAULT_SCALE") or 1))
    parser.add_argument("--seed", type=int, default=int(environ.get("FAULT_SEED") or 0))
    parser.add_argument("--work", type=Path, default=Path(environ.get("FAULT_WORK") or "fault-out"))
    parser.add_argument("--again", action="store_true", help="run what a results file has, too")
    parser.add_argument(
        "--broken", choices=VARIANTS, help="run a broken variant through its scenario"
    )
    parser.add_argument("scenario", nargs="*", default=(environ.get("SCENARIO") or "").split())
    return parser.parse_args()


def main() -> int:
    """Run; returns 0 when every row is clean."""
    options = _options()
    unknown = [n for n in options.scenario if n not in SCENARIOS]
    if unknown:
        sys.stderr.write(f"no scenario {unknown[0]}; there are: {', '.join(SCENARIOS)}\n")
        return 2
    seed = options.seed or random.SystemRandom().randrange(1, 1_000_000)
    work = options.work.absolute()
    work.mkdir(parents=True, exist_ok=True)
    results = work / "results.json"
    rows = (
        []
        if options.again or options.scenario or options.broken
        else _earlier(results, options.scale)
    )
    began = time.monotonic()
    sys.stdout.write(f"seed {seed}, scale {options.scale:g}, below {work}\n")
    variant = VARIANTS.get(options.broken)
    chosen = [variant.scenario] if variant else options.scenario or SCENARIOS
    for name in chosen:
        if any(r.name == name for r in rows):
            continue

        def say(text: str, name: str = name) -> None:
            sys.stdout.write(f"[{time.monotonic() - began:6.0f} s] {name}: {text}\n")
            sys.stdout.flush()

        say("begins")
        rows.append(run(name, work, scale=options.scale, seed=seed, say=say, broken=variant))
        facts = {
            "seed": seed,
            "scale": options.scale,
            "machine": f"{os.cpu_count()} cores, {platform.platform()}",
        }
        results.write_text(json.dumps(table.as_json(rows, **facts), indent=1), encoding="utf-8")
    sys.stdout.write(f"\n{table.text(rows)}\n\nseed {seed}; {results}\n")
    return 0 if all(r.clean for r in rows) else 1


def _earlier(results: Path, scale: float) -> list[table.Row]:
    """Rows of an interrupted run of the same size; a row with a finding is run again."""
    if not results.exists():
        return []
    content = json.loads(results.read_text(encoding="utf-8"))
    rows = [table.Row(**row) for row in content["rows"]]
    whole = {r.name for r in rows if r.clean} == set(SCENARIOS)
    return [r for r in rows if r.clean] if content["scale"] == scale and not whole else []


if __name__ == "__main__":
    sys.exit(main())
