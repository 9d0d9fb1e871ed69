"""`followup`: one patient's values over the studies that are here."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from node.cli.options import (
    ConfigOption,
    JsonOption,
    open_journal,
    read_config,
    writable_folder,
)
from node.cli.output import print_json, print_line, print_table, warn

if TYPE_CHECKING:
    from node.observe.followup import FollowUp, Found


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("followup")(followup)


def followup(
    identifier: Annotated[
        str, typer.Argument(help="Patient ID, or UID of one of the studies.", metavar="ID")
    ],
    plots: Annotated[
        Path | None,
        typer.Option("--plots", help="Write one SVG picture per value into this folder."),
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare a patient's results over the studies that are here.

    Results belong to one patient where Patient ID, its issuer, birth date and
    sex are equal, and the birth date is known. A change exceeds the uncertainty
    where it is larger than both expanded uncertainties (k = 2) in quadrature.

    \b
    Examples:
      lumbar-node followup PID-7
      lumbar-node followup 1.2.840.113619.2.1 --json

    \b
    Exit status: 0, 2 configuration or no journal, 3 no result of this patient
    or study.
    """
    from node.observe.followup import find_followups
    from node.observe.followup_view import followup_json

    found = find_followups(open_journal(read_config(config)), identifier)
    if plots is not None:
        _write_plots(found, writable_folder(plots))
    if as_json:
        print_json(followup_json(found))
    else:
        _print(found)


def _print(found: Found) -> None:
    """Print studies and tables of each patient, and what was left out."""
    from node.cli.tables import Table
    from node.observe.followup import MAX_SEARCHED
    from node.observe.followup_view import HEADS, followup_parts, left_out_lines

    many = len(found.followups) > 1
    for number, one in enumerate(found.followups, 1):
        if many:
            print_line(f"patient {number} of {len(found.followups)} with this Patient ID:")
        for line, rows in followup_parts(one):
            print_line(line)
            if rows:
                print_table(Table(HEADS, rows))
        if len(one.visits) == 1:
            print_line("one study only; nothing to compare it with")
    for line in left_out_lines(found):
        print_line(line)
    if found.truncated:
        warn(f"headers of the newest {MAX_SEARCHED} results were searched")


def _write_plots(found: Found, folder: Path) -> None:
    """Write pictures, `OC.svg` of the first patient, `2-OC.svg` of another with the same Patient ID."""
    from node.observe.followup_plot import plot

    folder.mkdir(parents=True, exist_ok=True)
    for number, one in enumerate(found.followups, 1):
        for name in _names(one):
            file = f"{name}.svg" if number == 1 else f"{number}-{name}.svg"
            (folder / file).write_text(plot(one, name), encoding="utf-8")


def _names(one: FollowUp) -> list[str]:
    """Return the values of all studies; a name that is no plain word makes no file."""
    names = dict.fromkeys(name for visit in one.visits for name in visit.values)
    return [name for name in names if name.isidentifier()]
