"""`lumbar-node`: parses, calls, prints, and turns errors into one line and an exit code."""

from __future__ import annotations

import sqlite3
import sys
import tempfile
import traceback
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.exceptions import TyperException

from dicomseg.errors import LumbarError
from node.cli import bench as commands_bench
from node.cli import jobs as commands_jobs
from node.cli import models as commands_models
from node.cli import series as cli_service
from node.cli.options import (
    AnyOption,
    ConfigOption,
    JsonOption,
    PathsArgument,
    SeriesOption,
    built,
    complain,
    config_of,
    leave_with,
    now,
    say_json,
    say_line,
    say_progress,
    say_table,
    tell_left_out,
)
from node.cli.packages import packages_together
from node.events import quiet_libraries
from node.journal import file as journal_file

if TYPE_CHECKING:
    from node.config.sections import Config
    from node.deliver.port import Destination
    from node.offline.gather import Judged
    from node.offline.run import Done, Workshop

app = typer.Typer(
    name="lumbar-node",
    help=(
        "A DICOM node that segments and measures L4/5 on 3D T2 SPACE. Research use only.\n\n"
        "\b\nExit status of every command:\n"
        "  0  done\n  1  unexpected, with where the log is\n  2  usage or configuration\n"
        "  3  nothing to do\n  4  input refused\n  5  peer unreachable or refused\n"
        "  6  model or bundle"
    ),
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    pretty_exceptions_enable=False,
)
app.add_typer(cli_service.app)
commands_bench.register(app)
commands_jobs.register(app)
commands_models.register(app)


def main() -> None:
    """Entry point of the script."""
    sys.exit(run(sys.argv[1:]))


def run(arguments: Sequence[str]) -> int:
    """Run one command; never raises. Returns the exit code."""
    quiet_libraries()
    try:
        packages_together(Path(__file__).resolve().parents[2])
        command = typer.main.get_command(app)
        code = command.main(list(arguments), prog_name="lumbar-node", standalone_mode=False)
    except TyperException as error:
        return _fail(f"{error.format_message()}; see lumbar-node --help", 2)
    except LumbarError as error:
        return _fail(str(error), error.exit_code)
    except sqlite3.Error as error:
        return _fail(str(journal_file.refusal(Path("journal.sqlite"), error)), 2)
    except (KeyboardInterrupt, typer.Abort):
        return _fail("interrupted", 130)
    except Exception as error:  # noqa: BLE001 - the last place that can tell the user
        return _fail(_unexpected(error, arguments), 1)
    return code if isinstance(code, int) else 0


def _fail(message: str, code: int) -> int:
    complain(f"lumbar-node: {message}")
    return code


def _unexpected(error: Exception, arguments: Sequence[str]) -> str:
    """One line about a fault that nothing foresaw: what the system says of it, and where the rest stands."""
    said = getattr(error, "strerror", None)
    return f"unexpected {type(error).__name__}{f' ({said})' if said else ''}; {_log(arguments)}"


def _log(arguments: Sequence[str]) -> str:
    """Write the traceback to a file of its own and say where; the disk may be what is full."""
    try:
        with tempfile.NamedTemporaryFile(
            "w", prefix="lumbar-node-", suffix=".log", delete=False, encoding="utf-8"
        ) as file:
            file.write(f"{datetime.now(UTC).isoformat()} lumbar-node {' '.join(arguments)}\n")
            file.write(traceback.format_exc())
    except OSError as error:
        return f"no log of it could be written ({error.strerror})"
    return f"the log is {file.name}"


# ---- by hand -------------------------------------------------------------------------------------


@app.command()
def select(
    paths: PathsArgument,
    config: ConfigOption = None,
    series: SeriesOption = None,
    any_sequence: AnyOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show what would be processed: each series, the verdict of the rules, and why.

    \b
    Examples:
      lumbar-node select study/
      lumbar-node select study/ --json

    \b
    Exit status: 0 when a series is eligible, 2 wrong path, 3 nothing eligible.
    """
    from node.cli import tables
    from node.offline import gather as batch

    gathered = batch.only_series(batch.gather(paths), series)
    rules = batch.ANY_SEQUENCE if any_sequence else config_of(config, needed=False).rules
    judged = batch.judge_all(gathered, rules)
    if as_json:
        say_json([tables.judged_json(one) for one in judged])
    elif judged:
        say_table(tables.judged_table(judged))
    tell_left_out(batch.left_out_lines(gathered))
    if not any(one.status == "eligible" for one in judged):
        raise batch.NothingEligible(
            "no series is eligible; the reasons stand above"
            if judged
            else "no DICOM objects under the given paths"
        )


@app.command()
def process(  # noqa: PLR0913, PLR0917 - one argument per option
    paths: PathsArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the results.")] = Path(
        "results"
    ),
    send: Annotated[bool, typer.Option("--send", help="Send them to every destination.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Make a new result that names its predecessor.")
    ] = False,
    series: SeriesOption = None,
    any_sequence: AnyOption = False,
    bundle: Annotated[
        Path | None, typer.Option("--bundle", help="Model bundle instead of the configured one.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Segment, measure and write result folders from files, without a server.

    \b
    The same input finds the result it already has in the folder.

    \b
    Examples:
      lumbar-node process study/
      lumbar-node process study/ --out results --send
      lumbar-node process tse/ --any-sequence --series 1.2.840.1

    \b
    Exit status: 0 results are there, 2 usage, 3 nothing eligible, 4 a series was refused or failed,
    5 a destination did not take them, 6 model or bundle.

    \b
    Files: OUT/RESULT_ID/{seg,midplane,measurements,volumes}.dcm, result.json
    """
    from node.offline import gather as batch

    settings = config_of(config, needed=send)
    gathered = batch.only_series(batch.gather(paths), series)
    judged = batch.judge_all(gathered, batch.ANY_SEQUENCE if any_sequence else settings.rules)
    tell_left_out(batch.left_out_lines(gathered))
    if not judged:
        raise batch.NothingEligible("no DICOM objects under the given paths")
    leave_with(_process(judged, settings, bundle, out, force=force, send=send, as_json=as_json))


def _process(
    judged: Sequence[Any],
    config: Config,
    bundle: Path | None,
    out: Path,
    *,
    force: bool,
    send: bool,
    as_json: bool,
) -> int:
    from node.cli import tables
    from node.offline import run as process

    eligible = [one for one in judged if one.status == "eligible"]
    shop = _workshop(config, bundle, out, force=force) if eligible else None
    rows = []
    for one in judged:
        if shop is None or one.status != "eligible":
            rows.append(process.not_worked_on(one))
            continue
        say_progress(one.candidate.name)
        rows.append(_worked_on(one, shop, say_progress))
    sent = []
    if send:
        destinations = [(c, d) for c, d in zip(config.destinations, built(config), strict=True)]
        sent = list(process.send_all([r.folder for r in rows if r.folder], destinations))
    if as_json:
        say_json(
            {
                "series": [tables.done_json(r) for r in rows],
                "sent": [tables.sent_json(s) for s in sent],
            }
        )
    else:
        say_table(tables.done_table(rows))
        for line in [*tables.refusals(rows), *(x for s in sent for x in tables.sent_lines(s))]:
            say_line(line)
    return process.exit_code_of(rows) or (0 if all(s.accepted for s in sent) else 5)


def _worked_on(one: Judged, shop: Workshop, say: Callable[[str], None]) -> Done:
    """Work on one series; whatever it raises is that series' end, not the batch's."""
    from node.offline import run as process

    try:
        return process.work_on(one, shop, say)
    except LumbarError as error:
        return process.failed(one, str(error))
    except Exception as error:  # noqa: BLE001 - the others of the batch still get their results
        return process.failed(one, _unexpected(error, ["process", one.candidate.series]))


def _workshop(config: Config, bundle: Path | None, out: Path, *, force: bool) -> Any:
    say_progress("loading the model")
    from node.offline.run import Workshop
    from node.work.pipeline import load_model, settings_of

    model = load_model(config.model, path=bundle)
    if model.note:
        complain(f"lumbar-node: {model.note}")
    return Workshop(model, settings_of(config.node, config.results), out, now, force)


# ---- destinations and configuration --------------------------------------------------------------


@app.command()
def echo(
    name: Annotated[str | None, typer.Argument(help="Destination; default: all.")] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask destinations whether they answer: C-ECHO, QIDO-RS, or a file in the folder.

    \b
    Examples:
      lumbar-node echo
      lumbar-node echo pacs --json

    \b
    Exit status: 0 all answer, 2 unknown name, 5 one does not answer.
    """
    from node.config.text import nearest
    from node.deliver.echo import UnknownDestination

    destinations = built(config_of(config))
    names = [d.name for d in destinations]
    if name is not None and name not in names:
        told = nearest(name, names) if names else "; none is configured"
        raise UnknownDestination(f'no destination "{name}"{told}')
    leave_with(_reach([d for d in destinations if name in {None, d.name}], as_json=as_json))


def _reach(destinations: Sequence[Destination], *, as_json: bool) -> int:
    from node.deliver.echo import reach_all

    found = reach_all(destinations)
    if as_json:
        say_json([{"name": r.name, "answers": r.answers, "text": r.text} for r in found])
    for one in found:
        if not as_json and one.answers:
            print(f"{one.name}: {one.text}")
        elif not one.answers:
            print(f"lumbar-node: {one.text}", file=sys.stderr)
    return 0 if all(r.answers for r in found) else 5


@app.command("check-config")
def checkconfig_of(
    config: ConfigOption = None,
    offline: Annotated[bool, typer.Option("--offline", help="Ask no destination.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Print the effective configuration and try every destination.

    \b
    Examples:
      lumbar-node check-config
      lumbar-node check-config --offline --config /etc/lumbar-node/config.toml

    \b
    Exit status: 0 usable, 2 the file is wrong (with its line), 5 a destination does not answer.
    """
    import json

    from node.config.text import masked, render

    found = config_of(config)
    if as_json:
        print(masked(json.dumps(found.model_dump(mode="json"), indent=1, ensure_ascii=False)))
    else:
        print(masked(render(found, comments=False)))
    if not found.destinations:
        print("lumbar-node: no destination is configured; results stay here", file=sys.stderr)
    if not offline:
        leave_with(_reach_quietly(found, as_json=as_json))


def _reach_quietly(config: Config, *, as_json: bool) -> int:
    """Try the destinations; with --json the configuration alone is on standard output."""
    from node.deliver.echo import reach_all

    found = reach_all(built(config))
    for one in found:
        line = f"{one.name}: {one.text}" if one.answers else f"lumbar-node: {one.text}"
        print(line, file=sys.stderr if as_json or not one.answers else sys.stdout)
    return 0 if all(r.answers for r in found) else 5


if __name__ == "__main__":
    main()
