"""The page of series: fifty at a time by keyset, filtered by state and day, or those of a patient, order or UID."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final
from urllib.parse import urlencode

from starlette.datastructures import QueryParams

from node.console.console import Asked, Console
from node.errors import UnknownUid
from node.journal.paging import DeliveryCount, PageFilter, Place
from node.journal.rows import SeriesRow
from node.journal.states import DeliveryState, SeriesState
from node.observe.explain import reason_text
from node.observe.identity_index import IdentityKey
from node.observe.series_list import find_by_identity, list_rows
from node.store.layout import StateDirectory

SIZE: Final = 50
MOST_FOUND: Final = 200
"""Series that a search shows."""
LONGEST_SEARCH: Final = 128
_UID: Final = re.compile(r"[0-9]+(\.[0-9]+)+")
_PLACE: Final = re.compile(r"([0-9]{1,12}(?:\.[0-9]{1,7})?)-([0-9]{1,18})")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the address asks for. day: of the reception; study: of the study, both YYYY-MM-DD.

    before, after: places of pages. problem: what is wrong with it.
    """

    text: str = ""
    state: SeriesState | None = None
    day: str = ""
    study: str = ""
    before: Place | None = None
    after: Place | None = None
    problem: str = ""

    @classmethod
    def of(cls, query: QueryParams) -> Wanted:
        """Read it; what is no state, day or place is named and left out."""
        text = query.get("q", "").strip()[:LONGEST_SEARCH]
        day, study, state = (query.get(name, "") for name in ("day", "study", "state"))
        problem = ""
        if (day and _day(day) is None) or (study and _day(study) is None):
            day, study, problem = "", "", "the day is not a date as 2026-01-31"
        if state and state not in set(SeriesState):
            state, problem = "", "there is no such state"
        return cls(
            text, SeriesState(state) if state else None, day, study,
            _place(query.get("before", "")), _place(query.get("after", "")), problem,
        )  # fmt: skip

    def filter(self) -> PageFilter:
        """Return it for the journal."""
        began = _day(self.day) if self.day else None
        until = None if began is None else (began + timedelta(days=1)).timestamp()
        since = None if began is None else began.timestamp()
        return PageFilter(self.state, since, until, self.study.replace("-", "") or None)

    def link(self, **places: str) -> str:
        """Return the address of a page of the same question."""
        query = {
            "q": self.text,
            "state": self.state or "",
            "day": self.day,
            "study": self.study,
            **places,
        }
        return "/series?" + urlencode({key: value for key, value in query.items() if value})


def series_page(console: Console, asked: Asked) -> Mapping[str, Any]:
    """Return what the page shows."""
    wanted = Wanted.of(asked.query)
    if wanted.text:
        rows, problem = _found(console, wanted, sees_patients=asked.visitor.role.sees_patients)
        wanted = replace(wanted, problem=wanted.problem or problem)
        older = newer = ""
    else:
        rows, older, newer = _page(console, wanted)
    return {
        "wanted": wanted,
        "rows": _shown(console, rows, identity=asked.visitor.role.sees_patients),
        "older": older,
        "newer": newer,
        "states": [str(s) for s in SeriesState],
        "first": wanted.link(),
    }


def _page(console: Console, wanted: Wanted) -> tuple[list[SeriesRow], str, str]:
    """Return the rows of a page, and the addresses of the older and the newer one, "" where there is none."""
    paging, is_newer = console.journal.paging, wanted.after is not None
    place = wanted.after or wanted.before
    rows = paging.page(wanted.filter(), place, SIZE + 1, newer=is_newer)
    has_more = len(rows) > SIZE
    rows = (rows[1:] if is_newer else rows[:-1]) if has_more else rows
    if not rows:
        return [], "", wanted.link() if place else ""
    older = wanted.link(before=_text(rows[-1])) if has_more or is_newer else ""
    newer = wanted.link(after=_text(rows[0])) if (has_more if is_newer else place) else ""
    return rows, older, newer


def _found(console: Console, wanted: Wanted, *, sees_patients: bool) -> tuple[list[SeriesRow], str]:
    """Return the series of a UID, a patient id or an accession number, and what a person should know of them."""
    journal = console.journal
    try:
        rows = journal.series.find(wanted.text) if _UID.fullmatch(wanted.text) else []
    except UnknownUid:
        rows = []
    if not rows and sees_patients:
        key = IdentityKey.read(StateDirectory(console.config.node.state).identity_key)
        rows = find_by_identity(journal, wanted.text, key)
    elif not rows and not _UID.fullmatch(wanted.text):
        return (
            [],
            "a viewer searches by UID only; patient ids and accession numbers are for physicians and operators",
        )
    day = wanted.filter().study_day
    on_day = None if day is None else journal.identities.of_day(day)
    kept = [r for r in rows if _fits(r, wanted) and (on_day is None or r.id in on_day)]
    if len(kept) > MOST_FOUND:
        return kept[:MOST_FOUND], f"the newest {MOST_FOUND} of {len(kept)} are shown"
    return kept, ""


def _fits(row: SeriesRow, wanted: Wanted) -> bool:
    given = wanted.filter()
    return (
        (given.state is None or row.state is given.state)
        and (given.since is None or row.last_at >= given.since)
        and (given.until is None or row.last_at < given.until)
    )


def _shown(console: Console, rows: Sequence[SeriesRow], *, identity: bool) -> list[dict[str, Any]]:
    ids, paging = [row.id for row in rows], console.journal.paging
    senders, deliveries = paging.senders_of(ids), paging.deliveries_of(ids)
    listed = list_rows(console.journal, rows, identity=identity)
    return [
        one
        | {
            "id": row.id,
            "sender": senders.get(row.id, ""),
            "why": reason_text(one),
            "sent": _sent(deliveries.get(row.id, [])),
        }
        for row, one in zip(rows, listed, strict=True)
    ]


def _sent(counts: Sequence[DeliveryCount]) -> str:
    """Return "2 of 3" for deliveries of which two are confirmed; "" without any."""
    total = sum(c.number for c in counts)
    done = sum(c.number for c in counts if c.state == DeliveryState.CONFIRMED)
    return f"{done} of {total}" if total else ""


def _text(row: SeriesRow) -> str:
    return f"{row.last_at:.7f}-{row.id}"


def _place(text: str) -> Place | None:
    found = _PLACE.fullmatch(text)
    return None if found is None else Place(float(found[1]), int(found[2]))


def _day(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, "%Y-%m-%d").astimezone()
    except (ValueError, OverflowError, OSError):
        return None
