"""The page of one series: its path, its values and picture, its deliveries, and what may be asked for."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from node.console.console import Asked, Console
from node.console.decided import review_of
from node.console.followups import followup_of
from node.console.values import values_of
from node.console.viewer import LINK
from node.console.way import way
from node.errors import UnknownUid
from node.journal.rows import WITHDRAWAL, DeliveryRow, ResultRow, SeriesRow
from node.journal.states import SERIES_TRANSITIONS, DeliveryState, SeriesEvent
from node.observe.deliveries import delivery_json
from node.observe.explain import reason_text, why_series
from node.observe.identity import read_identity
from node.store.results import read_result

_LARGEST_ID: Final = 2**63 - 1


def row_of(console: Console, asked: Asked) -> SeriesRow:
    """Return the series that the address names. Raises `UnknownUid`."""
    number = int(asked.path["id"])
    if number > _LARGEST_ID:
        raise UnknownUid(f"no series {number}")
    return console.journal.paging.row(number)


def detail_page(console: Console, asked: Asked) -> Mapping[str, Any]:
    """Return what the page shows. Raises `UnknownUid`."""
    row, journal, sees = row_of(console, asked), console.journal, asked.visitor.role.sees_patients
    # Before the rest: what happens while it is read makes this page an older view.
    seen = journal.paging.newest_event(row.id)
    if sees:
        console.opened(asked.visitor, row.key.study)
    (one,) = why_series(journal, [row], _viewer(console, asked))
    file = journal.overview.sample_files([row.id]).get(row.id)
    results = journal.results.of_series(row.key)
    newest = results[-1] if results else None
    return {
        "row": row,
        "one": one,
        "why": reason_text(one),
        "seen": seen,
        "steps": way(one),
        "header": read_identity(file) if sees and file is not None else None,
        "sender": journal.paging.senders_of([row.id]).get(row.id, ""),
        "values": values_of(read_result(newest.folder)) if sees and newest else None,
        "result": newest,
        "has_picture": sees and newest is not None and newest.purged_at is None,
        "review": review_of(console, asked.visitor, newest),
        "followup": followup_of(console, row.key, file) if sees and newest else None,
        "link": one["results"][-1]["link"] if one["results"] else None,
        "results": _results(results, one["results"]),
        "deliveries": [_delivery(d) for d in journal.deliveries.of_series(row.key)],
        "may_retry": (row.state, SeriesEvent.RETRY_REQUESTED) in SERIES_TRANSITIONS or bool(row.fault),
    }  # fmt: skip


def _viewer(console: Console, asked: Asked) -> str:
    """Return the template of links to results for who asks, "" for none."""
    role = asked.visitor.role
    if role.opens_viewer and console.config.web.ohif:
        return LINK
    return console.config.results.viewer if role.sees_patients else ""


def _results(rows: Sequence[ResultRow], shown: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    return [
        {**one, "created": row.created_at, "why": one["superseded_because"] and one["superseded_because"].replace("_", " ")}
        for row, one in zip(rows, shown, strict=True)
    ]  # fmt: skip


def _delivery(row: DeliveryRow) -> dict[str, Any]:
    """Return one delivery with what may be asked for: "" for nothing, else the word of the button."""
    ask = ""
    if row.kind != WITHDRAWAL and row.because:
        pass
    elif row.state is DeliveryState.DEAD:
        ask = "Send again"
    elif row.state is DeliveryState.WAITING or row.fault:
        ask = "Try now"
    elif row.state is DeliveryState.CONFIRMED and row.kind != WITHDRAWAL:
        ask = "Send again"
    return {**delivery_json(row), "id": row.id, "ask": ask, "objects": sorted(
        [(name, "accepted", "") for name in row.accepted]
        + [(name, "refused", why) for name, why in row.refused.items()]
    )}  # fmt: skip
