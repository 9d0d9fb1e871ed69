"""`lumbar-node models`: parses, calls, prints."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from node.cli.options import (
    ConfigOption,
    JsonOption,
    complain,
    config_of,
    leave_with,
    say_json,
    say_line,
    say_table,
)

if TYPE_CHECKING:
    from node.config.sections import Config
    from node.journal.rows import Promotion
    from node.models.registry import Request, Shelf

models_app = typer.Typer(help="Model bundles.", no_args_is_help=True, rich_markup_mode=None)

ByOption = Annotated[str, typer.Option("--by", help="Who decides; kept in the journal.")]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; kept in the journal.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.add_typer(models_app, name="models")


def _shelf(config: Config, *, writing: bool = False) -> Shelf | None:
    """Where the bundles are; None without a journal."""
    from node.journal.journal import Journal
    from node.models.registry import Shelf

    path = config.node.state / "journal.sqlite"
    if not path.exists():
        return None
    opened = Journal.writing if writing else Journal.reading
    return Shelf(config.node.state, opened(path, time.time), _configured(config))


def _shelf_for_change(config: Config) -> Shelf:
    """Where the bundles are; a node that was never started gets its journal here."""
    from node.journal.journal import Journal
    from node.models.registry import Shelf

    path = config.node.state / "journal.sqlite"
    opened = Journal.writing if path.exists() else Journal.open
    return Shelf(config.node.state, opened(path, time.time), _configured(config))


def _configured(config: Config) -> Path | None:
    return Path(config.model.bundle) if config.model.bundle else None


def _in_service(config: Config) -> Path:
    from model.bundle.load import default_path

    shelf = _shelf(config)
    return shelf.in_service if shelf else _configured(config) or default_path()


@models_app.command("list")
def list_models(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List the bundles that are installed and the configured one; the one in service is marked.

    \b
    Examples:
      lumbar-node models list
      lumbar-node models list --json

    \b
    Exit status: 0, 2 configuration.
    """
    from model.bundle.load import default_path
    from node.cli.tables import table

    found = config_of(config, needed=False)
    shelf, serves = _shelf(found), _in_service(found)
    configured = _configured(found)
    rows = [_row("configured" if configured else "shipped", configured or default_path(), serves)]
    rows += [_row("installed", p, serves) for p in (shelf.installed() if shelf else ())]
    history = [promotion_json(p) for p in (shelf.journal.promotions() if shelf else ())]
    if as_json:
        say_json({"bundles": rows, "changes": history})
        return
    cells = [
        ("*" if r["in_service"] else "", r["name"], r["version"], r["digest"][:12], r["kind"], r["folder"])
        for r in rows
    ]  # fmt: skip
    say_table(table(("", "name", "version", "digest", "kind", "folder"), cells))
    for one in history:
        say_line(
            f"{one['at']}  {one['event']}: {one['name']} {one['version']}, by {one['by']}: {one['reason']}"
        )


def _row(kind: str, folder: Path, serves: Path) -> dict[str, Any]:
    from model.bundle.load import read_card
    from model.errors import BundleError

    told: dict[str, Any] = {"name": folder.name, "version": "", "digest": "", "fault": ""}
    try:
        card = read_card(folder)
        told |= {k: str(card[k]) for k in ("name", "version", "digest")}
    except BundleError as error:
        told["fault"] = str(error)
        complain(f"lumbar-node: {error}")
    return {"kind": kind, "folder": str(folder), "in_service": folder == serves, **told}


@models_app.command()
def show(
    path: Annotated[
        Path | None, typer.Argument(help="Bundle; default: the one in service.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Verify a model bundle and print its card.

    \b
    Examples:
      lumbar-node models show
      lumbar-node models show model/bundles/lumbar-l45 --json

    \b
    Exit status: 0 the bundle is whole, 6 it is not.
    """
    from model.bundle.load import read_card

    found = config_of(config, needed=False)
    folder = _in_service(found) if path is None else _place(found, str(path))
    card = read_card(folder)
    if as_json:
        say_json(card)
        return
    for key, value in card.items():
        if not isinstance(value, list | dict):
            say_line(f"{key}: {value}")
    say_line(f"folder: {folder}")


def _place(config: Config, what: str) -> Path:
    """An installed bundle by its folder's name, else a folder."""
    from node.models.registry import MODELS

    named = config.node.state / MODELS / what
    return named if "/" not in what and named.is_dir() else Path(what)


@models_app.command()
def verify(
    paths: Annotated[
        list[str] | None, typer.Argument(help="Bundles; default: installed and in service.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Compare bundles with the digests on their cards.

    \b
    Examples:
      lumbar-node models verify
      lumbar-node models verify lumbar-l45-0.2.0-1f667caf538a --json

    \b
    Exit status: 0 all are whole, 2 configuration, 6 one is not.
    """
    found = config_of(config, needed=False)
    shelf, serves = _shelf(found), _in_service(found)
    known = [*(shelf.installed() if shelf else ()), serves]
    wanted = [_place(found, p) for p in paths] if paths else list(dict.fromkeys(known))
    rows = [_row("installed" if p in known else "folder", p, serves) for p in wanted]
    if as_json:
        say_json(rows)
    else:
        for row in rows:
            if not row["fault"]:
                say_line(f"{row['name']} {row['version']} {row['digest'][:12]}: whole")
    leave_with(6 if any(row["fault"] for row in rows) else 0)


@models_app.command()
def promote(
    what: Annotated[str, typer.Argument(help="Job that proposed it, installed bundle, or folder.")],
    by: ByOption,
    reason: ReasonOption,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put a bundle into service: copied, verified, tried, then switched for the next series.

    A job's candidate is taken only if it was compared with the model that is in service now. The
    running service needs no restart; a series that was begun ends with the model it began with.

    \b
    Examples:
      lumbar-node models promote 3 --by "E. Miller" --reason "better on thin discs, see job 3"
      lumbar-node models promote bundles/lumbar-l45 --by "E. Miller" --reason "release 0.3"

    \b
    Exit status: 0 in service, 2 configuration or disk full, 3 no such job, 6 refused or damaged.

    \b
    Files: STATE/models/NAME-VERSION-DIGEST/
    """
    from node.models import registry as models

    found, request = config_of(config), _request(by, reason)
    shelf = _shelf_for_change(found)
    job = shelf.journal.job(int(what)) if what.isdecimal() else None
    source = _place(found, what) if job is None else models.candidate_of(found.node.state, job)
    _say_change(models.promote(shelf, source, request, job), as_json=as_json)


@models_app.command()
def rollback(
    by: ByOption, reason: ReasonOption, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Return to the bundle that was in service before.

    \b
    Examples:
      lumbar-node models rollback --by "E. Miller" --reason "misses the vena cava in two patients"

    \b
    Exit status: 0 in service, 2 configuration, 6 nothing to return to, or it is damaged.
    """
    from node.models import registry as models

    request = _request(by, reason)
    shelf = _shelf(config_of(config), writing=True)
    if shelf is None:
        raise models.nothing_before()
    _say_change(models.rollback(shelf, request), as_json=as_json)


def _request(by: str, reason: str) -> Request:
    from node.models.registry import Request

    for name, value in (("--by", by), ("--reason", reason)):
        if not value.strip():
            raise typer.BadParameter(f"{name} is empty; say it, it is kept in the journal")
    return Request(by.strip(), reason.strip())


def _say_change(row: Promotion, *, as_json: bool) -> None:
    if as_json:
        say_json(promotion_json(row))
    else:
        say_line(f"in service: {row.name} {row.version} {row.digest[:12]} ({row.event})")


def promotion_json(row: Promotion) -> dict[str, Any]:
    """One change of the bundle in service, for programs."""
    from node.clock import at_text

    return {
        "at": at_text(row.at),
        "event": row.event,
        "name": row.name,
        "version": row.version,
        "digest": row.digest,
        "replaced": row.replaced,
        "folder": None if row.folder is None else str(row.folder),
        "job": row.job_id,
        "by": row.asked_by,
        "reason": row.reason,
    }
