"""`lumbar-train shifts`: estimate the boundary bias (logit offsets) of a bundle, for its card."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from training.cli.options import BundleOption, CaseOption, CasesOption, ThreadsOption, out_file
from training.cli.output import ProgressBar, new_table, print_table

if TYPE_CHECKING:
    from training.evaluate.outline_bias import OutlineBias


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("shifts")(shifts)


def shifts(
    cases: CasesOption,
    out: Annotated[Path, out_file("JSON file for `export --card`.")],
    bundle: BundleOption = None,
    case: CaseOption = None,
    every: Annotated[
        bool, typer.Option("--all", help="Every case; you vouch that none was trained on.")
    ] = False,
    threads: ThreadsOption = 0,
) -> None:
    """Estimate boundary bias (logit offsets) for a bundle.

    A network's outlines may fit its labels and still make every diameter slightly too large. The offsets
    of artery, vein and psoas at which the median errors of DAA, DIVC, OC and PI on unseen cases are zero are written to OUT, for
    `lumbar-train export --card`. Labels do not change. Uncertainties do: run `evaluate --card` on the
    exported bundle and export again.

    \b
    Examples:
      lumbar-train shifts --cases unseen --all --bundle bundle --out shifts.json
      lumbar-train export --run bundle --level bundle/level.safetensors \\
        --card shifts.json --out new --version 0.3.1

    \b
    Exit status: 0 done, 2 no offset balances the errors, 4 too few cases,
    6 the bundle does not load.
    """
    from model.bundle.card import default_path
    from model.bundle.load import load_bundle
    from training.evaluate import outline_bias
    from training.evaluate.case_results import write_json
    from training.evaluate.evaluate import choose_cases

    model = load_bundle(bundle or default_path(), threads=threads)
    paths = choose_cases(cases, model, tuple(case or ()), every=every)
    with ProgressBar(2 * len(paths), "shifts") as bar:
        bias = outline_bias.estimate(paths, model, bar.advance)
    _show(bias)
    write_json(out, {"outline_shifts": dict(bias.shifts)})


def _show(bias: OutlineBias) -> None:
    from training.evaluate.outline_bias import LADDER

    head = ("", *(f"{shift:+.1f}" for shift in LADDER))
    table = new_table(head, "Median error in mm by offset")
    for name, medians in bias.medians_mm.items():
        table.add_row(name, *(f"{m:+.2f}" for m in medians))
    print_table(table)
    typer.echo("outline_shifts: " + ", ".join(f"{k} {v:+.2f}" for k, v in bias.shifts.items()))
