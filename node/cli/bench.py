"""`lumbar-node bench`: the benchmarks."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node.cli.options import ConfigOption, JsonOption, command_group, read_config
from node.cli.output import (
    leave_with,
    print_json,
    print_line,
    print_progress,
    print_table,
    warn,
)

if TYPE_CHECKING:
    from node.bench import receive as receiving
    from node.bench.engines import Report, Row

HEADERS = (
    "engine", "precision", "load s", "compile s", "first s", "median s", "min–max s", "CPU s",
    "peak MB", "× eager", "equal %", "foreground %", "lowest Dice",
)  # fmt: skip


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = command_group("Benchmarks.")
    group.command("engines")(engines)
    group.command("encode")(encode)
    group.command("commands")(commands)
    group.command("receive")(receive)
    app.add_typer(group, name="bench")


def engines(
    shape: Annotated[
        tuple[int, int, int], typer.Option(help="Slices, rows, columns of the patch.")
    ] = (128, 240, 180),
    runs: Annotated[int, typer.Option(min=1, help="Timed runs after the first.")] = 5,
    bundle: Annotated[Path | None, typer.Option(help="Bundle; default: configured.")] = None,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads; 0 = all cores.")] = 0,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Time every inference engine on one synthetic image.

    Outputs are compared with those of eager float32 torch. Each engine runs in its own process; no result of an earlier call is reused. Eager torch needs
    about 3 GB and ten seconds per run at full size.

    \b
    Examples:
      lumbar-node bench engines
      lumbar-node bench engines --shape 64 120 88 --runs 3 --threads 1 --json

    \b
    Exit status: 0 measured (an engine that is not installed is named), 2 usage,
    6 the bundle is damaged or an engine failed.
    """
    from model.bundle.card import default_path
    from model.engines.choose import INSTALL_TORCH, has_torch
    from node.errors import BenchFailed

    if not has_torch():
        raise BenchFailed(
            f"the engines are compared with torch, which is not installed; {INSTALL_TORCH}"
        )
    from node.bench.engines import Plan, measure

    configured = read_config(config, required=False).model.bundle
    path = bundle or (Path(configured) if configured else default_path())
    report = measure(Plan(path, shape, runs, threads), print_progress)
    if as_json:
        print_json(report.as_json())
    else:
        _show(report)
    leave_with(_warn_of_faults(report))


def encode(
    runs: Annotated[int, typer.Option(min=1, help="Timed runs after the first.")] = 5,
    as_json: JsonOption = False,
) -> None:
    """Time the encoding of every object of a result.

    The drawing of its pictures, too. CPU seconds, on a phantom of 128 × 320 × 320 voxels that is made for it; one process, nothing beside it.

    \b
    Examples:
      lumbar-node bench encode
      lumbar-node bench encode --runs 20 --json

    \b
    Exit status: 0 measured, 2 usage, 6 the phantom could not be made.
    """
    from node.bench.encode import measure_encoding
    from node.cli.tables import Table

    times = measure_encoding(runs, print_progress)
    if as_json:
        print_json([t.as_json() for t in times])
        return
    heads = (
        "part",
        "first CPU s",
        "median CPU s",
        "min–max CPU s",
        "median wall s",
        "target CPU s",
    )
    rows = [
        (
            t.part,
            f"{t.first_s:.3f}",
            f"{t.median_s:.3f}",
            f"{min(t.cpu_s):.3f}–{max(t.cpu_s):.3f}",
            f"{t.median_wall_s:.3f}",
            "" if t.target_s is None else f"{t.target_s:g}",
        )
        for t in times
    ]
    print_line(f"phantom of 128 × 320 × 320 voxels, {runs} runs after a first one")
    print_table(Table(heads, rows))


def commands(
    series: Annotated[int, typer.Option(min=0, help="Series of the state folder.")] = 50,
    runs: Annotated[int, typer.Option(min=1, help="Timed runs after the first.")] = 5,
    as_json: JsonOption = False,
) -> None:
    """Time `status`, `list` and `models list`.

    CPU and wall seconds, on a synthetic state folder.

    \b
    Examples:
      lumbar-node bench commands
      lumbar-node bench commands --series 1000 --json

    \b
    Exit status: 0 measured, 2 usage, 6 a command failed.
    """
    from statistics import median

    from node.bench.commands import TARGET_S, measure_commands
    from node.cli.tables import Table

    times = measure_commands(series, runs, print_progress)
    if as_json:
        print_json([t.as_json() for t in times])
        return
    rows = [
        (f"{min(t.cpu_s):.2f}", f"{median(t.cpu_s):.2f}", f"{median(t.wall_s):.2f}", t.command)
        for t in times
    ]
    print_line(
        f"{series} series, {runs} runs after a first one; CPU target {TARGET_S} s, machine idle"
    )
    print_table(Table(("min CPU s", "median CPU s", "median wall s", "command"), rows))


def receive(
    instances: Annotated[
        int, typer.Option(min=1, max=1000, help="Instances of each sender in each round.")
    ] = 128,
    rounds: Annotated[int, typer.Option(min=1, max=50, help="Rounds; medians are over them.")] = 5,
    as_json: JsonOption = False,
) -> None:
    """Time the reception beside DCMTK's storescp and Orthanc.

    Synthetic MR instances of 205 kB over loopback, one sender and four at once, by DCMTK's storescu. The node runs as it always does, every object durable before its answer. Needs 5 GB in the temporary folder.

    \b
    Examples:
      lumbar-node bench receive
      lumbar-node bench receive --instances 32 --rounds 3 --json

    \b
    Exit status: 0 measured (a server that is not installed is named),
    2 usage, 6 a server failed or did not take everything.
    """
    from node.bench.receive import Plan, measure_receiving

    report = measure_receiving(Plan(instances, rounds), print_progress)
    if as_json:
        print_json(report.as_json())
    else:
        _show_receiving(report)
    for sentence in report.absent:
        warn(sentence)


def _show_receiving(report: receiving.Report) -> None:
    from node.bench.series import INSTANCE_BYTES
    from node.cli.tables import Table

    heads = (
        "server", "senders", "inst/s", "MB/s", "× storescp", "× Orthanc", "CPU ms", "RSS MB",
    )  # fmt: skip
    rows = [
        (
            row.server,
            str(row.senders),
            f"{row.rate:.0f}",
            f"{row.rate * INSTANCE_BYTES / 1e6:.0f}",
            "–" if row.to_storescp is None else f"{row.to_storescp:.2f}",
            "–" if row.to_orthanc is None else f"{row.to_orthanc:.2f}",
            f"{row.cpu_ms:.2f}",
            f"{row.memory_before_mb:.0f} → {row.visits[-1].memory_mb:.0f}",
        )
        for row in report.rows
    ]
    plan = report.plan
    print_line(
        f"{plan.instances} instances of {INSTANCE_BYTES / 1000:.0f} kB per sender, {plan.rounds} rounds,"
        " all servers in turn"
    )
    print_line("TCP_NODELAY=1 at every sender and server; storescp syncs nothing to disk")
    print_table(Table(heads, rows))
    print_line(f"sent to the node {report.sent}, in its journal {report.journalled}")


def _show(report: Report) -> None:
    from node.cli.tables import Table

    plan, first = report.plan, report.rows[0].times
    size = " × ".join(str(n) for n in plan.shape)
    packages = ", ".join(f"{name} {version}" for name, version in report.versions.items())
    print_line(f"{size}, median of {plan.runs} runs after a first one; {plan.bundle.name}")
    print_line(f"{report.machine}; {first.threads if first else '?'} threads; {packages}")
    print_table(Table(HEADERS, [_cells(row) for row in report.rows if row.times]))
    loads = ", ".join(f"{r.name} {r.times.load_average:.1f}" for r in report.rows if r.times)
    print_line(f"load of the machine before each: {loads}")
    agreement = report.rows[0].agreement
    if agreement is not None:
        content = f"{agreement.structures} structures in {agreement.foreground_voxels} voxels"
        print_line(f"eager output: {content}")


def _cells(row: Row) -> list[str]:
    from statistics import median

    times, agreement = row.times, row.agreement
    if times is None or agreement is None or row.ratio is None:
        raise AssertionError("only rows with figures are shown")
    front, dice = agreement.equal_foreground, agreement.lowest_dice
    return [
        row.name,
        times.precision,
        f"{times.load_s:.2f}",
        f"{times.compile_s:.2f}",
        f"{times.first_s:.2f}",
        f"{times.median_s:.2f}",
        f"{min(times.runs_s):.2f}–{max(times.runs_s):.2f}",
        f"{median(times.cpu_s):.2f}",
        str(times.peak_mb),
        f"{row.ratio:.2f}",
        f"{100 * agreement.equal:.4f}",
        "–" if front is None else f"{100 * front:.4f}",
        "–" if dice is None else f"{dice:.5f} {agreement.lowest_structure}",
    ]


def _warn_of_faults(report: Report) -> int:
    """Name the engines without figures; return 6 if one is installed and failed."""
    code = 0
    for row in report.rows:
        if row.times is not None and row.times.note:
            warn(f"{row.name}: {row.times.note}")
        if row.times is None:
            warn(f"{row.name}: {row.fault}")
            absent = row.name == "openvino" and find_spec("openvino") is None
            code = code if absent else 6
    return code
