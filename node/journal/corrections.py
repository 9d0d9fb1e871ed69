"""The journal's corrections: segmentations that viewers sent, and what was found of each.

A method that takes a `Transaction` is part of the caller's; any other is one of its own.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

from node.errors import ChangedMeanwhile
from node.journal.columns import read_json, read_state
from node.journal.database import Database
from node.journal.rows import InstanceRow, SeriesKey
from node.journal.series import SeriesTable

if TYPE_CHECKING:
    import sqlite3

CORRECTION_ACCEPTED: Final = "correction_accepted"
CORRECTION_REFUSED: Final = "correction_refused"
CORRECTION_REMOVED: Final = "correction_removed"
"""Events that change no state: a segmentation was judged that corrects a result of the series, or its case was removed."""
UNCHANGED_PART: Final = "unchanged-part"
"""Code of an unrelated one that counts once another correction of its series is accepted."""
_CLASSES: Final = "i.sop_class IN ('1.2.840.10008.5.1.4.1.1.66.4', '1.2.840.10008.5.1.4.1.1.66.7')"
_COLUMNS: Final = (
    "SELECT c.*, s.study, s.series, o.study AS source_study, o.series AS source_series FROM correction c"
    " JOIN series s ON s.id = c.series_id LEFT JOIN series o ON o.id = c.source_id "
)


class CorrectionState(StrEnum):
    """What became of a segmentation.

    accepted: part of a labelled case. replaced: later ones of the same series took the place of all that it held.
    removed: a person took the case back. unrelated: no correction.
    """

    ACCEPTED = "accepted"
    REPLACED = "replaced"
    REMOVED = "removed"
    REFUSED = "refused"
    UNRELATED = "unrelated"


@dataclass(frozen=True, slots=True)
class Judgement:
    """What was found of one segmentation; see migration `corrections` for the fields.

    kept: rows of the same series that hold segments of the case, beside this one.
    """

    state: CorrectionState
    code: str = ""
    reason: str = ""
    source: SeriesKey | None = None
    result_id: str = ""
    entry: str = ""
    figures: Mapping[str, Any] = field(default_factory=dict)
    kept: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class CorrectionRow:
    """One judged segmentation. series: its own; source: the series that it segments, None where it is none of ours."""

    id: int
    sop_instance: str
    digest: str
    series: SeriesKey
    source: SeriesKey | None
    result_id: str
    state: CorrectionState
    code: str
    reason: str
    entry: str
    figures: Mapping[str, Any]
    calling_ae: str
    judged_at: float
    series_id: int = 0
    source_id: int | None = None

    @classmethod
    def from_row(cls, row: sqlite3.Row) -> Self:
        """Read a row of `correction` with the UIDs of both series."""
        named = ("id", "sop_instance", "digest", "result_id", "code", "reason", "entry", "calling_ae", "judged_at", "series_id", "source_id")  # fmt: skip
        has_source = row["source_id"] is not None
        return cls(
            series=SeriesKey(row["study"], row["series"]),
            source=SeriesKey(row["source_study"], row["source_series"]) if has_source else None,
            state=read_state(CorrectionState, row["state"]),
            figures=read_json(row["figures"], dict),
            **{name: row[name] for name in named},
        )


class CorrectionPlace(NamedTuple):
    """Where a page begins: behind the correction that was judged then and has this id."""

    judged_at: float
    id: int


@dataclass(frozen=True, slots=True)
class CorrectionTable:
    """Every segmentation of a viewer that was judged."""

    database: Database
    series: SeriesTable

    def waiting(self) -> list[SeriesKey]:
        """Return the skipped series with segmentations that are not judged and may be now, oldest first."""
        rows = self.database.query(
            "SELECT DISTINCT s.study, s.series FROM instance i JOIN series s ON s.id = i.series_id"
            f" WHERE {_CLASSES} AND i.state = 'stored' AND s.state = 'skipped'"
            " AND (s.try_at <= :now OR s.fault_at > :now)"
            " AND NOT EXISTS (SELECT 1 FROM correction c WHERE c.sop_instance = i.sop_instance"
            " AND c.digest = i.digest AND c.seen_at = s.state_at) ORDER BY s.state_at, s.id",
            {"now": self.database.now()},
        )
        return [SeriesKey(r["study"], r["series"]) for r in rows]

    def judged(self, key: SeriesKey, seen_at: float) -> set[tuple[str, str]]:
        """Return SOP Instance UID and digest of what was judged of a series since it was skipped."""
        rows = self.database.query(
            "SELECT c.sop_instance, c.digest FROM correction c JOIN series s ON s.id = c.series_id"
            " WHERE s.study = ? AND s.series = ? AND c.seen_at = ?",
            (*key, seen_at),
        )
        return {(r["sop_instance"], r["digest"]) for r in rows}

    def all(self) -> list[CorrectionRow]:
        """Return every judged segmentation, newest first."""
        rows = self.database.query(_COLUMNS + "ORDER BY c.judged_at DESC, c.id DESC")
        return [CorrectionRow.from_row(r) for r in rows]

    def page(
        self, place: CorrectionPlace | None, limit: int, *, newer: bool = False
    ) -> list[CorrectionRow]:
        """Return the next `limit` corrections behind a place, newest first; none that is unrelated.

        newer: those before the place instead.
        """
        order, sign = ("ASC", ">") if newer else ("DESC", "<")
        behind = "" if place is None else f"AND (c.judged_at, c.id) {sign} (:judged_at, :id) "
        rows = self.database.query(
            f"{_COLUMNS}WHERE c.state <> 'unrelated' {behind}"
            f"ORDER BY c.judged_at {order}, c.id {order} LIMIT :limit",
            {"limit": limit, **({} if place is None else place._asdict())},
        )
        found = [CorrectionRow.from_row(r) for r in rows]
        return found[::-1] if newer else found

    def parts(self, source: SeriesKey) -> list[CorrectionRow]:
        """Return what may hold segments of the case of a series, oldest first."""
        rows = self.database.query(
            _COLUMNS + "WHERE o.study = :study AND o.series = :series"
            " AND (c.state = 'accepted' OR c.state = 'unrelated' AND c.code = :part) ORDER BY c.judged_at, c.id",
            {"study": source.study, "series": source.series, "part": UNCHANGED_PART},
        )
        return [CorrectionRow.from_row(r) for r in rows]

    def record(self, seg: InstanceRow, seen_at: float, found: Judgement) -> None:
        """Record what was found of a segmentation; an accepted one takes the place of others of its source, but for `kept`.

        seen_at: `state_at` of the segmentation's series as it was judged.
        """
        with self.database.transaction() as tx:
            own = self.series.read(tx, seg.series)
            source = None if found.source is None else self.series.read(tx, found.source)
            values = {
                "uid": seg.sop_instance_uid, "digest": seg.digest, "series": own.id,
                "source": None if source is None else source.id, "result": found.result_id,
                "state": found.state, "code": found.code, "reason": found.reason, "entry": found.entry,
                "figures": json.dumps(dict(found.figures)), "ae": seg.calling_ae, "now": tx.now(), "seen": seen_at,
            }  # fmt: skip
            if found.state is CorrectionState.ACCEPTED:
                tx.execute(
                    "UPDATE correction SET state = 'replaced' WHERE state = 'accepted' AND source_id = :source"
                    " AND NOT (sop_instance = :uid AND digest = :digest)",
                    values,
                )
                for row in found.kept:
                    tx.execute(
                        "UPDATE correction SET state = 'accepted', code = '', reason = '', entry = ? WHERE id = ?",
                        (found.entry, row),
                    )
            tx.execute(
                "INSERT INTO correction (sop_instance, digest, series_id, source_id, result_id, state, code, reason, entry,"
                " figures, calling_ae, judged_at, seen_at) VALUES (:uid, :digest, :series, :source, :result, :state, :code,"
                " :reason, :entry, :figures, :ae, :now, :seen) ON CONFLICT (sop_instance, digest) DO UPDATE SET"
                " series_id = :series, source_id = :source, result_id = :result, state = :state, code = :code,"
                " reason = :reason, entry = :entry, figures = :figures, calling_ae = :ae, judged_at = :now, seen_at = :seen",
                values,
            )
            # A fault of this step ends with its success; the series itself does not move.
            tx.execute(
                "UPDATE series SET fault = '', fault_step = '', fault_tries = 0, fault_at = 0, try_at = 0 WHERE id = ?",
                (own.id,),
            )
            event = _EVENTS.get(found.state)
            if source is not None and event is not None:
                detail: dict[str, object] = {
                    "sop_instance": seg.sop_instance_uid, "digest": seg.digest, "result": found.result_id,
                    "code": found.code, "reason": found.reason,
                }  # fmt: skip
                tx.event(source.id, event, source.state, detail)

    def remove(self, rows: Sequence[CorrectionRow], by: str, reason: str) -> None:
        """Record that a person removed the case of these rows; an event of each series that they segment says so.

        Raises:
            ChangedMeanwhile: one of them has changed since it was read.
        """
        with self.database.transaction() as tx:
            for row in rows:
                done = tx.execute(
                    "UPDATE correction SET state = 'removed', code = '', reason = ? WHERE id = ? AND state = ? AND entry = ?",
                    (reason, row.id, row.state, row.entry),
                )
                if done.rowcount != 1:
                    raise ChangedMeanwhile(f"correction {row.entry} has changed meanwhile; list the corrections again")  # fmt: skip
            for source in {row.source for row in rows if row.source is not None}:
                series = self.series.read(tx, source)
                detail: dict[str, object] = {"entry": rows[0].entry, "by": by, "reason": reason}
                tx.event(series.id, CORRECTION_REMOVED, series.state, detail)


_EVENTS: Final = {
    CorrectionState.ACCEPTED: CORRECTION_ACCEPTED,
    CorrectionState.REFUSED: CORRECTION_REFUSED,
}
