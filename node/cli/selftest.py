"""`selftest`: the synthetic study through the node's own pipeline, compared with its first result and the truth."""

from __future__ import annotations

import os
import sys
import threading
from typing import TYPE_CHECKING, Annotated

import typer

from node.cli.options import ConfigOption, JsonOption, read_config
from node.cli.output import leave_with, print_json, print_line, print_progress

if TYPE_CHECKING:
    from node.store.selftest_history import SelftestRow


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("selftest")(selftest)


def selftest(
    config: ConfigOption = None,
    trend: Annotated[
        bool, typer.Option("--trend", help="Show the last runs; run nothing.")
    ] = False,
    new_reference: Annotated[
        bool, typer.Option("--new-reference", help="Compare later runs with this one.")
    ] = False,
    with_parent: Annotated[bool, typer.Option("--with-parent", hidden=True)] = False,
    as_json: JsonOption = False,
) -> None:
    """Measure a synthetic study; compare with truth and first run.

    The study goes through the pipeline of the workers with the bundle in
    service, at the lowest priority. Nothing of it is delivered or listed.
    "drifted": values differ from those of the first run of this bundle on
    this machine by more than 0.05 mm, or a volume by more than 0.5 %.
    `[selftest] at` runs it every day.

    \b
    Examples:
      lumbar-node selftest
      lumbar-node selftest --trend

    \b
    Exit status: 0 passed, 2 configuration, 3 --trend without a run, 4 failed
    or drifted.

    \b
    Files: STATE/selftest/{study/, history.jsonl}
    """
    from dataclasses import asdict

    from node.errors import NothingTested
    from node.selftest.trend import trend_lines
    from node.store.selftest_history import read_history

    settings = read_config(config)
    if trend:
        rows = read_history(settings.node.state)
        if not rows:
            raise NothingTested("no self-test has run yet; `lumbar-node selftest` runs one")
        if as_json:
            print_json([asdict(r) for r in rows])
        else:
            for line in trend_lines(rows):
                print_line(line)
        return
    if with_parent:
        threading.Thread(target=_end_with_parent, daemon=True).start()
    os.nice(19)
    from node.selftest.run import Selftest

    row = Selftest(settings).run(print_progress, new_reference=new_reference)
    if as_json:
        print_json(asdict(row))
    else:
        for line in row_lines(row):
            print_line(line)
    leave_with(0 if row.outcome == "passed" else 4)


def row_lines(row: SelftestRow) -> list[str]:
    """Return one run as lines."""
    values = ", ".join(f"{n} {'refused' if v is None else f'{v:.2f} mm'}" for n, v in row.values_mm.items())  # fmt: skip
    lines = [f"{row.outcome}: {row.reason or values}"]
    if row.error_mm is not None:
        drift = "the first run, with which later ones are compared" if row.drift_mm is None else f"{row.drift_mm:.3f} mm from the first run"  # fmt: skip
        lines.append(f"at most {row.error_mm:.2f} mm from the truth; {drift}; {row.cpu_s:.1f} s of processor time")  # fmt: skip
    return lines


def _end_with_parent() -> None:
    """End this process when standard input does: the service is gone."""
    while os.read(sys.stdin.fileno(), 1):
        pass
    os._exit(1)
