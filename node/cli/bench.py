"""`lumbar-node bench`: parses, calls, prints."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node.cli.options import (
    ConfigOption,
    JsonOption,
    complain,
    config_of,
    leave_with,
    say_json,
    say_line,
    say_progress,
    say_table,
)

if TYPE_CHECKING:
    from node.bench.engines import Report, Row

bench_app = typer.Typer(help="Measured tables.", no_args_is_help=True, rich_markup_mode=None)

HEADERS = (
    "engine", "precision", "load s", "compile s", "first s", "median s", "min–max s", "CPU s",
    "peak MB", "× eager", "equal %", "foreground %", "lowest Dice",
)  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(bench_app, name="bench")


@bench_app.command("engines")
def engines(
    shape: Annotated[
        tuple[int, int, int], typer.Option(help="Slices, rows, columns of the patch.")
    ] = (128, 240, 180),
    runs: Annotated[int, typer.Option(min=1, help="Timed runs after the first.")] = 5,
    bundle: Annotated[Path | None, typer.Option(help="Bundle; default: configured.")] = None,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0 leaves it to torch.")] = 0,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Time every engine on one synthetic image and compare its answer with eager float32 torch.

    Each engine has a process of its own; nothing is taken from an earlier call. Eager torch needs about
    three gigabytes and ten seconds a run at full size.

    \b
    Examples:
      lumbar-node bench engines
      lumbar-node bench engines --shape 64 120 88 --runs 3 --threads 1 --json

    \b
    Exit status: 0 measured (an engine that is not installed is named), 2 usage,
    6 the bundle is not whole or an engine failed.
    """
    from model.bundle.load import default_path
    from node.bench.engines import Plan, measure

    configured = config_of(config, needed=False).model.bundle
    path = bundle or (Path(configured) if configured else default_path())
    report = measure(Plan(path, shape, runs, threads), say_progress)
    if as_json:
        say_json(report.as_json())
    else:
        _show(report)
    leave_with(_told_faults(report))


def _show(report: Report) -> None:
    from node.cli.tables import table

    plan, first = report.plan, report.rows[0].taken
    size = " × ".join(str(n) for n in plan.shape)
    packages = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    say_line(f"{size}, median of {plan.runs} runs after a first one; {plan.bundle.name}")
    say_line(f"{report.machine}; {first.threads if first else '?'} threads; {packages}")
    say_table(table(HEADERS, [_cells(row) for row in report.rows if row.taken]))
    loads = ", ".join(f"{r.name} {r.taken.load_average:.1f}" for r in report.rows if r.taken)
    say_line(f"load of the machine before each: {loads}")
    agreement = report.rows[0].agreement
    if agreement is not None:
        found = f"{agreement.structures} structures in {agreement.foreground_voxels} voxels"
        say_line(f"eager found {found}")


def _cells(row: Row) -> list[str]:
    from statistics import median

    taken, agreement = row.taken, row.agreement
    if taken is None or agreement is None or row.ratio is None:
        raise AssertionError("only rows with figures are shown")
    front, dice = agreement.equal_foreground, agreement.lowest_dice
    return [
        row.name,
        taken.precision,
        f"{taken.load_s:.2f}",
        f"{taken.compile_s:.2f}",
        f"{taken.first_s:.2f}",
        f"{taken.median_s:.2f}",
        f"{min(taken.runs_s):.2f}–{max(taken.runs_s):.2f}",
        f"{median(taken.cpu_s):.2f}",
        str(taken.peak_mb),
        f"{row.ratio:.2f}",
        f"{100 * agreement.equal:.4f}",
        "–" if front is None else f"{100 * front:.4f}",
        "–" if dice is None else f"{dice:.5f} {agreement.lowest_structure}",
    ]


def _told_faults(report: Report) -> int:
    """Name the engines without figures; 6 when one is installed and failed."""
    code = 0
    for row in report.rows:
        if row.taken is not None and row.taken.note:
            complain(f"lumbar-node: {row.name}: {row.taken.note}")
        if row.taken is None:
            complain(f"lumbar-node: {row.name}: {row.fault}")
            absent = row.name == "openvino" and find_spec("openvino") is None
            code = code if absent else 6
    return code
