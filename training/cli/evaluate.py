"""`lumbar-train evaluate`: scores, measurements and baselines of prepared cases."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from training.cli.options import (
    BundleOption,
    CaseOption,
    CasesOption,
    DeviceOption,
    ThreadsOption,
    engine_device,
    out_file,
)
from training.cli.output import ProgressBar, new_table, print_table

if TYPE_CHECKING:
    from training.evaluate.case_results import CaseResult


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("evaluate")(evaluate)


def evaluate(  # noqa: PLR0913, PLR0917 - one argument per option of the command line
    cases: CasesOption,
    bundle: BundleOption = None,
    case: CaseOption = None,
    every: Annotated[
        bool, typer.Option("--all", help="Every case, trained on or not; tables keep them apart.")
    ] = False,
    unseen: Annotated[
        bool, typer.Option("--unseen", help="You vouch that none of the cases was trained on.")
    ] = False,
    baselines: Annotated[bool, typer.Option(help="Also the two baselines.")] = True,
    out: Annotated[Path | None, out_file("JSON file of the results.")] = None,
    csv: Annotated[Path | None, out_file("CSV file, one line per case and value.", "--csv")] = None,
    card: Annotated[
        Path | None, out_file("JSON file for `lumbar-train export --card`.", "--card")
    ] = None,
    threads: ThreadsOption = 0,
    device: DeviceOption = "auto",
) -> None:
    """Evaluate the inference pipeline on prepared cases.

    Predictions are compared with the labels: per structure Dice, precision, recall, HD95 and surface distance; OC, DAA, DIVC and PI against the
    reference; two baselines that need no network; the values of the paper beside them.

    Without --case and --all: the cases that the bundle's card names as held out, or, where the folder
    holds none of them, every case, shown as possibly trained on.

    With --out, each finished case is kept in RESULTS.cases beside RESULTS.json, and the same command
    continues an interrupted evaluation; `lumbar-train report` makes pictures of both.

    \b
    Examples:
      lumbar-train evaluate --cases cases --out results.json --csv results.csv
      lumbar-train evaluate --cases unseen --all --unseen --card card.json
      lumbar-train evaluate --cases cases --bundle bundle --case spider-005

    \b
    Exit status: 0 done, 2 no such device, 4 no such cases, 6 the bundle does
    not load.
    """
    from model.bundle.card import default_path
    from model.bundle.load import load_bundle
    from training.data.cases import list_cases
    from training.evaluate.baselines import Baselines
    from training.evaluate.case_results import write_json
    from training.evaluate.evaluate import (
        EvaluationSettings,
        choose_cases,
        evaluate_cases,
        held_out_ids,
    )
    from training.evaluate.results_file import about, card_json, results_json
    from training.report.case_csv import cases_csv

    model = load_bundle(bundle or default_path(), threads=threads, device=engine_device(device))
    known = held_out_ids(model)
    paths = choose_cases(cases, model, tuple(case or ()), every=every, foreign=True)
    there = known & {path.stem for path in paths}
    if not case and not every and not there:
        typer.echo(
            f"{cases} holds none of the bundle's held-out cases: all {len(paths)} are evaluated, as cases that may have"
            " been trained on; --unseen vouches that none was",
            err=True,
        )
    elif not case and not every and there != known:
        typer.echo(f"{len(there)} of the bundle's {len(known)} held-out cases are there", err=True)
    settings = EvaluationSettings(
        model=lambda _: model,
        unseen=lambda name: unseen or name in known,
        baselines=Baselines(list_cases(cases)) if baselines else None,
        folder=None if out is None else out.with_suffix(".cases"),
    )
    with ProgressBar(len(paths), "evaluate") as bar:
        results = evaluate_cases(paths, settings, lambda result: bar.advance(result.case_id))
    show(results)
    notes = ["--unseen: the caller vouches that no case was trained on"] if unseen else []
    if out is not None:
        write_json(out, results_json(results, about(model.info), notes))
    if csv is not None:
        csv.write_text(cases_csv(results), encoding="utf-8", newline="")
    if card is not None:
        write_json(card, card_json(results))


def show(results: Sequence[CaseResult]) -> None:
    """Print the tables."""
    from training.evaluate.summary import groups
    from training.report import tables

    for table in (*tables.tables(groups(results)), tables.case_table(results)):
        shown = new_table(table.head, table.title, table.note)
        for number, row in enumerate(table.rows):
            shown.add_row(*row, style="dim" if number in table.beside else None)
        print_table(shown)
        typer.echo()
