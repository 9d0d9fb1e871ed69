"""The page of corrections: segmentations that viewers sent back, what was found of each, values before and after."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from node.console.console import Asked, Console
from node.console.words import moment
from node.journal.corrections import CorrectionPlace, CorrectionRow

SIZE: Final = 25
_PLACE: Final = re.compile(r"([0-9]{1,12}\.[0-9]{1,9})_([0-9]{1,18})")


def corrections_page(console: Console, asked: Asked) -> Mapping[str, Any]:
    """Return what was judged, newest first; values for who may see them."""
    table, sees = console.journal.corrections, asked.visitor.role.sees_patients
    older, newer = (_place(asked.query.get(name, "")) for name in ("older", "newer"))
    rows = table.page(newer or older, SIZE + 1, newer=newer is not None)
    has_more = len(rows) > SIZE
    rows = (rows[1:] if newer else rows[:-1]) if has_more else rows
    is_first = not has_more if newer else older is None
    is_last = not newer and not has_more
    return {
        "rows": [_shown(row, sees=sees) for row in rows],
        "newer": "" if is_first or not rows else f"/corrections?newer={_text(rows[0])}",
        "older": "" if is_last or not rows else f"/corrections?older={_text(rows[-1])}",
        "sees": sees,
    }


def _shown(row: CorrectionRow, *, sees: bool) -> dict[str, Any]:
    unchanged = row.figures.get("unchanged")
    return {
        "state": str(row.state),
        "judged": moment(row.judged_at),
        "sender": row.calling_ae,
        "reason": row.reason,
        "code": row.code,
        "source": row.source_id,
        "own": row.series_id,
        "changes": list(_values(row.figures)) if sees else [],
        "case": row.entry,
        "unchanged": [str(name) for name in unchanged] if isinstance(unchanged, list) else [],
    }


def _values(figures: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    """Yield name, value before and value after."""
    values = figures.get("values")
    for name, value in values.items() if isinstance(values, dict) else ():
        if isinstance(value, dict):
            yield str(name), _side(value, "before"), _side(value, "after")


def _side(value: Mapping[str, Any], when: str) -> str:
    number = value.get(f"{when}_mm")
    if isinstance(number, int | float):
        return f"{number:.1f} mm"
    refusal = str(value.get(f"{when}_refusal") or "").replace("_", " ")
    return refusal or "–"


def _text(row: CorrectionRow) -> str:
    return f"{row.judged_at!r}_{row.id}"


def _place(text: str) -> CorrectionPlace | None:
    found = _PLACE.fullmatch(text)
    return None if found is None else CorrectionPlace(float(found[1]), int(found[2]))
