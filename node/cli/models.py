"""`lumbar-node models`: the model bundles and which one is in service."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from node.cli.options import ConfigOption, JsonOption, command_group, read_config
from node.cli.output import leave_with, print_json, print_line, print_table, warn
from node.store.layout import StateDirectory

if TYPE_CHECKING:
    from node.config.sections import Config
    from node.journal.job_rows import Promotion
    from node.models.registry import ModelRegistry, Request

ByOption = Annotated[
    str, typer.Option("--by", help="Name of the person who decides; recorded in the journal.")
]
ReasonOption = Annotated[str, typer.Option("--reason", help="Why; recorded in the journal.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = command_group("Model bundles.")
    group.command("list")(list_models)
    group.command("show")(show)
    group.command("verify")(verify)
    group.command("promote")(promote)
    group.command("rollback")(rollback)
    app.add_typer(group, name="models")


def _registry(config: Config, *, writing: bool = False) -> ModelRegistry | None:
    """Return the registry of the state folder; None without a journal."""
    from node.journal.journal import Journal
    from node.models.registry import ModelRegistry

    path = StateDirectory(config.node.state).journal
    if not path.exists():
        return None
    opened = Journal.writing if writing else Journal.reading
    return ModelRegistry(config.node.state, opened(path, time.time), _configured(config))


def _registry_for_change(config: Config) -> ModelRegistry:
    """Return the registry; a node that was never started gets its journal here."""
    from node.journal.journal import Journal
    from node.models.registry import ModelRegistry

    path = StateDirectory(config.node.state).journal
    opened = Journal.writing if path.exists() else Journal.open
    return ModelRegistry(config.node.state, opened(path, time.time), _configured(config))


def _configured(config: Config) -> Path | None:
    return Path(config.model.bundle) if config.model.bundle else None


def _in_service(config: Config) -> Path:
    from model.bundle.card import default_path

    registry = _registry(config)
    return registry.in_service if registry else _configured(config) or default_path()


def list_models(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List the installed bundles and the configured one.

    An asterisk marks the one in service; its changes follow.

    \b
    Examples:
      lumbar-node models list
      lumbar-node models list --json

    \b
    Exit status: 0, 2 configuration.
    """
    from model.bundle.card import default_path
    from node.cli.tables import Table

    settings = read_config(config, required=False)
    registry, serves = _registry(settings), _in_service(settings)
    configured = _configured(settings)
    rows = [_row("configured" if configured else "shipped", configured or default_path(), serves)]
    rows += [_row("installed", p, serves) for p in (registry.installed() if registry else ())]
    history = [promotion_json(p) for p in (registry.journal.promotions.all() if registry else ())]
    if as_json:
        print_json({"bundles": rows, "changes": history})
        return
    cells = [
        ("*" if r["in_service"] else "", r["name"], r["version"], r["digest"][:12], r["kind"], r["folder"])
        for r in rows
    ]  # fmt: skip
    print_table(Table(("", "name", "version", "digest", "kind", "folder"), cells))
    for change in history:
        print_line(
            f"{change['at']}  {change['event']}: {change['name']} {change['version']},"
            f" by {change['by']}: {change['reason']}"
        )


def _row(kind: str, folder: Path, serves: Path) -> dict[str, Any]:
    from model.bundle.card import read_card
    from model.errors import BundleError

    row: dict[str, Any] = {"name": folder.name, "version": "", "digest": "", "fault": ""}
    try:
        card = read_card(folder)
        row |= {k: str(card[k]) for k in ("name", "version", "digest")}
    except BundleError as error:
        row["fault"] = str(error)
        warn(str(error))
    return {"kind": kind, "folder": str(folder), "in_service": folder == serves, **row}


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
    Exit status: 0 the bundle is intact, 2 configuration, 6 it is not.
    """
    from model.bundle.card import read_card

    settings = read_config(config, required=False)
    folder = _in_service(settings) if path is None else _bundle_folder(settings, str(path))
    card = read_card(folder)
    if as_json:
        print_json(card)
        return
    for key, value in card.items():
        if not isinstance(value, list | dict):
            print_line(f"{key}: {value}")
    print_line(f"folder: {folder}")


def _bundle_folder(config: Config, what: str) -> Path:
    """Return an installed bundle by the name of its folder, or any folder."""
    named = StateDirectory(config.node.state).models / what
    return named if "/" not in what and named.is_dir() else Path(what)


def verify(
    paths: Annotated[
        list[str] | None, typer.Argument(help="Bundles; default: installed and in service.")
    ] = None,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Check bundles against the digests on their cards.

    \b
    Examples:
      lumbar-node models verify
      lumbar-node models verify lumbar-l45-0.2.0-1f667caf538a --json

    \b
    Exit status: 0 all are intact, 2 configuration, 6 one is not.
    """
    settings = read_config(config, required=False)
    registry, serves = _registry(settings), _in_service(settings)
    known = [*(registry.installed() if registry else ()), serves]
    wanted = [_bundle_folder(settings, p) for p in paths] if paths else list(dict.fromkeys(known))
    rows = [_row("installed" if p in known else "folder", p, serves) for p in wanted]
    if as_json:
        print_json(rows)
    else:
        for row in rows:
            if not row["fault"]:
                print_line(
                    f"{row['name']} {row['version']} {row['digest'][:12]}: ok (digest verified)"
                )
    leave_with(6 if any(row["fault"] for row in rows) else 0)


def promote(
    what: Annotated[
        str,
        typer.Argument(help="Job that proposed it, installed bundle, or folder.", metavar="BUNDLE"),
    ],
    by: ByOption,
    reason: ReasonOption,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Put a bundle into service.

    It is copied, verified and test-loaded first; the switch takes effect with the next series,
    without a restart. A job's candidate is accepted only if it was compared with the model that is
    in service now.

    \b
    Examples:
      lumbar-node models promote 3 --by "E. Miller" --reason "better discs"
      lumbar-node models promote bundles/l45 --by "E. Miller" --reason "release"

    \b
    Exit status: 0 in service, 2 configuration or disk full, 3 no such job,
    6 refused or damaged.

    \b
    Files: STATE/models/NAME-VERSION-DIGEST/
    """
    from node.models import registry as models

    settings, request = read_config(config), _request(by, reason)
    registry = _registry_for_change(settings)
    job = registry.journal.jobs.get(int(what)) if what.isdecimal() else None
    source = (
        _bundle_folder(settings, what)
        if job is None
        else models.find_candidate(settings.node.state, job)
    )
    _print_change(models.promote(registry, source, request, job), as_json=as_json)


def rollback(
    by: ByOption, reason: ReasonOption, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Return to the bundle that was in service previously.

    \b
    Examples:
      lumbar-node models rollback --by "E. Miller" --reason "misses the cava"

    \b
    Exit status: 0 in service, 2 configuration, 6 no earlier bundle, or it is
    damaged.
    """
    from node.models import registry as models

    request = _request(by, reason)
    registry = _registry(read_config(config), writing=True)
    if registry is None:
        raise models.nothing_before()
    _print_change(models.rollback(registry, request), as_json=as_json)


def _request(by: str, reason: str) -> Request:
    from node.models.registry import Request

    for name, value in (("--by", by), ("--reason", reason)):
        if not value.strip():
            raise typer.BadParameter(f"{name} must not be empty; it is recorded in the journal")
    return Request(by.strip(), reason.strip())


def _print_change(row: Promotion, *, as_json: bool) -> None:
    if as_json:
        print_json(promotion_json(row))
    else:
        print_line(f"in service: {row.name} {row.version} {row.digest[:12]} ({row.event})")


def promotion_json(row: Promotion) -> dict[str, Any]:
    """Return one change of the bundle in service, for programs."""
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
