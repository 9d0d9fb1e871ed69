"""`select` and `process`: files and folders, without a server."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node.cli.options import (
    ConfigOption,
    ForceOption,
    JsonOption,
    build_destinations,
    out_folder,
    read_config,
)
from node.cli.output import (
    internal_error,
    leave_with,
    print_json,
    print_line,
    print_progress,
    print_table,
    warn,
)

if TYPE_CHECKING:
    from node.config.sections import Config
    from node.offline.gather import Gathered, Judged
    from node.offline.run import OfflineRun, SentResult, SeriesOutcome

PathsArgument = Annotated[
    list[Path], typer.Argument(help="DICOM files and folders.", metavar="PATH")
]
SeriesOption = Annotated[
    str | None, typer.Option("--series", help="Only the series with this UID.", metavar="UID")
]
AnyOption = Annotated[
    bool,
    typer.Option(
        "--any-sequence", help="Ignore the selection rules: accept any regular MR volume."
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command("select")(select)
    app.command("process")(process)


def select(
    paths: PathsArgument,
    config: ConfigOption = None,
    series: SeriesOption = None,
    any_sequence: AnyOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show which series would be processed, and why.

    \b
    Examples:
      lumbar-node select study/
      lumbar-node select study/ --json

    \b
    Exit status: 0 a series is eligible, 2 wrong path, 3 no eligible series.
    """
    from node.cli import offline_tables as tables
    from node.errors import NothingEligible
    from node.offline import gather

    gathered = gather.only_series(gather.gather(paths), series)
    rules = gather.ANY_SEQUENCE if any_sequence else read_config(config, required=False).rules
    judged = gather.judge_all(gathered, rules)
    if as_json:
        print_json([tables.judged_json(j) for j in judged])
    elif judged:
        print_table(tables.judged_table(judged))
    _warn_of_skipped_files(gathered)
    if not any(j.status == "eligible" for j in judged):
        raise NothingEligible(
            "no eligible series; see the reasons above"
            if judged
            else "no DICOM objects under the given paths"
        )


def process(  # noqa: PLR0913, PLR0917 - one argument per option
    paths: PathsArgument,
    out: Annotated[Path, out_folder("Folder for the results.")] = Path("results"),
    send: Annotated[
        bool, typer.Option("--send", help="Send the results to every destination.")
    ] = False,
    force: ForceOption = False,
    series: SeriesOption = None,
    any_sequence: AnyOption = False,
    bundle: Annotated[
        Path | None, typer.Option("--bundle", help="Model bundle; default: the configured one.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Process files into result folders, without a server.

    A result that the folder already holds for the same input is not made again.

    \b
    Examples:
      lumbar-node process study/
      lumbar-node process study/ --out results --send
      lumbar-node process tse/ --any-sequence --series 1.2.840.1

    \b
    Exit status: 0 every eligible series has a result, 2 usage, 3 no eligible
    series, 4 a series was refused or failed, 5 a destination did not accept
    a result, 6 model or bundle.

    \b
    Files: OUT/RESULT_ID/{seg,midplane,measurements,volumes}.dcm, result.json
    """
    from node.errors import NothingEligible
    from node.offline import gather

    settings = read_config(config, required=send)
    gathered = gather.only_series(gather.gather(paths), series)
    judged = gather.judge_all(gathered, gather.ANY_SEQUENCE if any_sequence else settings.rules)
    _warn_of_skipped_files(gathered)
    if not judged:
        raise NothingEligible("no DICOM objects under the given paths")
    eligible = any(j.status == "eligible" for j in judged)
    run = _offline_run(settings, bundle, out, force=force) if eligible else None
    outcomes = list(_outcomes(judged, run))
    sent = _send(outcomes, settings) if send else []
    leave_with(_show(outcomes, sent, as_json=as_json))


def _warn_of_skipped_files(gathered: Gathered) -> None:
    from node.offline.gather import skipped_file_lines

    for line in skipped_file_lines(gathered):
        warn(f"skipped file: {line}")


def _offline_run(config: Config, bundle: Path | None, out: Path, *, force: bool) -> OfflineRun:
    print_progress("loading the model")
    from node.offline.run import OfflineRun
    from node.work.load_model import load_model
    from node.work.pipeline import build_settings

    model = load_model(config.model, path=bundle)
    if model.note:
        warn(model.note)
    settings = build_settings(config.node, config.results)
    return OfflineRun(model, settings, out, lambda: datetime.now().astimezone(), force)


def _outcomes(judged: Sequence[Judged], run: OfflineRun | None) -> list[SeriesOutcome]:
    from node.offline.run import skipped_row

    outcomes = []
    for series in judged:
        if run is None or series.status != "eligible":
            outcomes.append(skipped_row(series))
            continue
        print_progress(series.candidate.name)
        outcomes.append(_process_one(series, run, print_progress))
        if outcomes[-1].folder is not None and outcomes[-1].text:
            warn(f"{outcomes[-1].name}: {outcomes[-1].text}")
    return outcomes


def _process_one(judged: Judged, run: OfflineRun, progress: Callable[[str], None]) -> SeriesOutcome:
    """Process one series; what it raises is its own outcome, the others are processed."""
    from dicomseg.errors import LumbarError
    from node.offline.run import failed, process_one

    try:
        return process_one(judged, run, progress)
    except LumbarError as error:
        return failed(judged, str(error))
    except Exception as error:  # noqa: BLE001 - the others of the batch still get their results
        return failed(judged, internal_error(error, ["process", judged.candidate.series]))


def _send(outcomes: Sequence[SeriesOutcome], config: Config) -> list[SentResult]:
    from node.offline.run import send_all

    destinations = list(zip(config.destinations, build_destinations(config), strict=True))
    return list(send_all([o.folder for o in outcomes if o.folder], destinations))


def _show(outcomes: Sequence[SeriesOutcome], sent: Sequence[SentResult], *, as_json: bool) -> int:
    """Print what became of every series and delivery; returns the exit code."""
    from node.cli import offline_tables as tables
    from node.offline.run import exit_code

    if as_json:
        print_json(
            {
                "series": [tables.outcome_json(o) for o in outcomes],
                "sent": [tables.sent_json(s) for s in sent],
            }
        )
    else:
        print_table(tables.outcome_table(outcomes))
        for line in tables.refusal_lines(outcomes):
            print_line(line)
        for result in sent:
            for line in tables.sent_lines(result):
                print_line(line)
    return exit_code(outcomes) or (0 if all(s.accepted for s in sent) else 5)
