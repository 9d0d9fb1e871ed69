"""The pages about the node itself: overview, destinations, senders, disk and retention, the model in service."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from node.config.destinations import DestinationConfig
from node.console.console import Asked, Console
from node.console.words import moment
from node.deliver.offers import Acceptance, class_title, syntax_title
from node.journal.figures import Figures
from node.journal.states import SeriesState
from node.observe.attention import MOST_LINES, attention, current_alarms
from node.observe.deliveries import ATTENTION_S
from node.observe.node_status import model_in_service, node_status
from node.observe.selftest import site_matters
from node.store.layout import StateDirectory

HOUR_S: Final = 3600.0
DAY_S: Final = 86_400.0
SOON_S: Final = 5.0
LATER_S: Final = 60.0
"""How long matters of attention, and totals over every object, are kept: they read more than a page may."""
MOST_REFUSALS: Final = 100
"""Peers that are listed with their refusals, the latest first."""
_LONGEST_CARD: Final = 200_000


def overview_page(console: Console, _asked: Asked) -> Mapping[str, Any]:
    """Return what needs attention, how many series are in which state, and how the node is."""
    journal, config = console.journal, console.config
    counts = journal.paging.series_counts()
    matters = console.kept.get(
        "matters",
        SOON_S,
        lambda: [*site_matters(config, console.wall()), *attention(journal)],
    )
    seen = journal.paging.senders_seen()
    latest = max(seen, key=lambda name: seen[name], default=None)
    return {
        "status": node_status(config, journal, console.bundle, with_senders=False),
        "latest": None if latest is None else (latest, moment(seen[latest])),
        "counts": [(str(s), counts.get(s, 0)) for s in SeriesState],
        "matters": matters[:MOST_LINES],
        "hidden": max(0, len(matters) - MOST_LINES),
    }


def destinations_page(console: Console, _asked: Asked) -> Mapping[str, Any]:
    """Return every destination, configured now or earlier, with its backlog and last proof."""
    journal = console.journal
    figures, backlog = Figures(journal.database), journal.paging.backlog()
    proofs, oldest = figures.last_proofs(), figures.oldest_open()
    configured = {d.name: d for d in console.config.destinations}
    names = [*configured, *sorted((backlog.keys() | proofs.keys()) - configured.keys())]
    now = console.wall()
    return {
        "tests": _tests(console),
        "destinations": [
            {
                "name": name,
                "configured": name in configured,
                "where": _where(configured[name]) if name in configured else "not configured any more",
                "kind": configured[name].kind if name in configured else "",
                "backlog": backlog.get(name, {}),
                "open": sum(n for s, n in backlog.get(name, {}).items() if s != "dead"),
                "oldest": moment(oldest.get(name)),
                "is_late": now - oldest.get(name, now) > ATTENTION_S,
                "proof": moment(proofs.get(name)),
                "unreachable": journal.deliveries.unreachable(name),
            }
            for name in names
        ]
    }  # fmt: skip


def _tests(console: Console) -> Mapping[str, Any]:
    """Return the last tests: who answers, and objects against destinations."""
    tested = console.echo_tests.found()
    columns = [d.name for d in console.config.destinations if d.name in tested]
    said: dict[str, dict[str, Acceptance]] = {}
    for name in columns:
        result = tested[name].result
        for one in result.objects if result else ():
            said.setdefault(one.offer.file, {})[name] = one
    return {
        "answers": [(name, tested[name], moment(tested[name].at)) for name in columns],
        "columns": [name for name in columns if any(name in cells for cells in said.values())],
        "rows": [
            (file, class_title(next(iter(cells.values())).offer.sop_class), {
                name: (one.value, syntax_title(one.syntax) if one.syntax else "", one.remedy)
                for name, one in cells.items()
            })
            for file, cells in said.items()
        ],
    }  # fmt: skip


def _where(config: DestinationConfig) -> str:
    if config.kind == "dicom":
        return f"{config.ae_title} at {config.host} port {config.port}"
    return config.url if config.kind == "dicomweb" else str(config.path)


def senders_page(console: Console, _asked: Asked) -> Mapping[str, Any]:
    """Return who sent what, and whose series stopped being eligible."""
    journal, now = console.journal, console.wall()
    figures = Figures(journal.database)
    alarms = console.kept.get("alarms", LATER_S, lambda: current_alarms(journal))
    hour = console.kept.get("hour", SOON_S, lambda: figures.received_since(now - HOUR_S))
    day = console.kept.get("day", LATER_S, lambda: figures.received_since(now - DAY_S))
    refused: dict[str, int] = {}
    total: dict[str, int] = {}
    for f in console.kept.get("senders", LATER_S, figures.senders):
        total[f.sender] = total.get(f.sender, 0) + f.objects
        if f.state == "quarantined":
            refused[f.sender] = f.objects
    seen = journal.paging.senders_seen()
    names = sorted(seen, key=lambda name: (-seen[name], name))
    return {
        "senders": [
            {
                "name": name, "last": moment(seen[name]), "hour": hour.get(name, 0), "day": day.get(name, 0),
                "total": total.get(name, 0), "refused": refused.get(name, 0),
            }
            for name in names
        ],
        "alarms": alarms,
        "callers": console.config.receive.caller,
        "refusals": [(r, moment(r.last_at)) for r in journal.refusals.newest(MOST_REFUSALS)],
    }  # fmt: skip


def disk_page(console: Console, _asked: Asked) -> Mapping[str, Any]:
    """Return how much room there is, and what leaves the disk by itself."""
    config, state = console.config, StateDirectory(console.config.node.state)
    usage = shutil.disk_usage(state.root)
    return {
        "usage": usage,
        "used_percent": round(100 * usage.used / usage.total),
        "objects": console.kept.get("bytes", LATER_S, console.journal.purges.kept_bytes),
        "journal": _bytes(state.journal),
        "low": config.receive.disk_low_mb * 1_000_000,
        "high": config.receive.disk_high_mb * 1_000_000,
        "retention": config.retention,
        "purged": console.journal.paging.series_counts().get(str(SeriesState.PURGED), 0),
    }


def _bytes(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def model_page(console: Console, _asked: Asked) -> Mapping[str, Any]:
    """Return the bundle in service with its card, and who put which into service."""
    journal, config = console.journal, console.config
    configured = Path(config.model.bundle) if config.model.bundle else None
    folder = journal.promotions.folder_in_service(configured) or console.bundle
    return {
        "model": model_in_service(config, journal, console.bundle),
        "card": _card(folder),
        "promotions": journal.promotions.all()[::-1],
    }


def _card(folder: Path) -> list[tuple[str, str]]:
    """Return the entries of a card that are text, as (key, text)."""
    try:
        with (folder / "card.json").open(encoding="utf-8") as file:
            card = json.loads(file.read(_LONGEST_CARD))
    except (OSError, ValueError, RecursionError):
        return []
    if not isinstance(card, dict):
        return []
    return list(_entries(card))


def _entries(card: Mapping[str, Any]) -> list[tuple[str, str]]:
    found = []
    for key, value in card.items():
        name = str(key).replace("_", " ")
        if isinstance(value, str | int | float | bool):
            found.append((name, str(value)))
        elif isinstance(value, list) and all(isinstance(v, str | int | float) for v in value):
            found.append((name, ", ".join(map(str, value[:20]))))
    return found
