"""`status`: whether the node runs and is ready, its model, what came from whom."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from node.clock import at_text
from node.config.sections import Config
from node.journal.journal import Journal
from node.store.lock import Holder, is_running, read_holder

MB: Final = 1_000_000


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """The state of one node.

    holder: the process that runs, None if none does or it has not described itself yet. not_ready:
    why no series would be received and processed now, "" if the node is ready. model: name, version
    and digest of the bundle in service. senders: AE title, time of the last object, number of objects.
    """

    running: bool
    holder: Holder | None
    not_ready: str
    model: dict[str, str]
    disk_free_mb: int
    senders: tuple[dict[str, Any], ...]


def node_status(
    config: Config, journal: Journal, default_bundle: Path, *, with_senders: bool = True
) -> NodeStatus:
    """Read the state of a node, running or stopped; opens nothing for writing.

    default_bundle: folder of the bundle in service if none is configured or promoted. with_senders: else none are
    named; counting their objects reads an entry of an index for each.
    """
    state = config.node.state
    running = is_running(state)
    holder = read_holder(state) if running else None
    free_mb = shutil.disk_usage(state).free // MB
    return NodeStatus(
        running,
        holder,
        _not_ready(config, holder, free_mb, running=running),
        model_in_service(config, journal, default_bundle),
        free_mb,
        tuple(
            {"ae_title": s.ae_title, "last": at_text(s.last_at), "objects": s.objects}
            for s in (journal.overview.senders() if with_senders else ())
        ),
    )


def _not_ready(config: Config, holder: Holder | None, free_mb: int, *, running: bool) -> str:
    if not running:
        return "it is not running; start `lumbar-node serve`"
    if free_mb < config.receive.disk_low_mb:
        low_mb = config.receive.disk_low_mb
        return f"{free_mb} MB are free, below disk_low_mb {low_mb}; free disk space"
    if holder is None or holder.port is None:
        return "it is starting"
    if holder.ready_at is None:
        return "it receives; the workers are loading the model"
    return ""


def model_in_service(config: Config, journal: Journal, default_bundle: Path) -> dict[str, str]:
    """Return name, version and digest of the bundle in service, from its card where it was not promoted."""
    promoted = journal.promotions.newest()
    if promoted is not None:
        return {"name": promoted.name, "version": promoted.version, "digest": promoted.digest}
    folder = Path(config.model.bundle) if config.model.bundle else default_bundle
    try:
        card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
        return {key: str(card[key]) for key in ("name", "version", "digest")}
    except (OSError, ValueError, KeyError, TypeError):
        return {"name": folder.name, "version": "unreadable card", "digest": ""}


def status_json(status: NodeStatus) -> dict[str, Any]:
    """Return the status for programs."""
    holder = status.holder
    return {
        "running": status.running,
        "pid": holder.pid if holder else None,
        "version": holder.version if holder else None,
        "since": at_text(holder.started_at) if holder else None,
        "port": holder.port if holder else None,
        "ready": not status.not_ready,
        "not_ready": status.not_ready,
        "model": status.model,
        "disk_free_mb": status.disk_free_mb,
        "senders": list(status.senders),
    }


def status_lines(status: NodeStatus) -> list[str]:
    """Return the status as lines for people."""
    holder, model = status.holder, status.model
    if holder is not None:
        port = "" if holder.port is None else f", port {holder.port}"
        running = f"running since {at_text(holder.started_at)} (version {holder.version}, pid {holder.pid}{port})"
    else:
        running = "running" if status.running else "not running"
    digest = f" {model['digest'][:12]}" if model["digest"] else ""
    lines = [
        f"node      {running}",
        f"ready     {'no: ' + status.not_ready if status.not_ready else 'yes'}",
        f"model     {model['name']} {model['version']}{digest}",
        f"disk      {status.disk_free_mb} MB free",
    ]
    for number, sender in enumerate(status.senders):
        label = "received" if number == 0 else ""
        lines.append(
            f"{label:<8}  {sender['last']}  last from {sender['ae_title'] or 'an unknown sender'},"
            f" {sender['objects']} objects"
        )
    return lines if status.senders else [*lines, "received  nothing yet"]
