"""The page of review: results in doubt, worst first; and what a physician decides of one: to confirm or to reject it."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any, Final

from starlette.responses import RedirectResponse, Response

from node.console.console import Asked, Console
from node.console.detail import row_of
from node.console.render import render_message
from node.console.users import is_password
from node.console.values import values_of
from node.console.words import moment
from node.errors import DamagedResult, IllegalTransition, UnknownUid
from node.journal.reviews import CONFIRMED, REJECTIONS, Decision, ReviewPlace, ToReview
from node.journal.rows import ResultRow
from node.observe.identity import read_identity
from node.store.results import read_result

SIZE: Final = 25
REPORT: Final = "measurements.dcm"
"""What a physician confirms; a destination that is sent none of it is sent no confirmed one."""
_comparing: Final = threading.Lock()
"""One comparison of passwords at a time: each takes a core and 64 MB."""
_PLACE: Final = re.compile(r"([0-9]{1,9}\.[0-9]{1,4})_([0-9]{1,12}\.[0-9]{1,9})_([0-9A-Za-z.]{1,64})")  # fmt: skip


def review_page(console: Console, asked: Asked) -> Mapping[str, Any]:
    """Return the results that wait for a look, and the addresses of the pages beside this one."""
    if not asked.visitor.role.sees_patients:
        return {"rows": None, "next": "", "previous": "", "institution": ""}
    reviews = console.journal.reviews
    after, before = (_place(asked.query.get(name, "")) for name in ("after", "before"))
    rows = reviews.page(before or after, SIZE + 1, before=before is not None)
    has_more = len(rows) > SIZE
    rows = (rows[1:] if before else rows[:-1]) if has_more else rows
    is_first = not has_more if before else after is None
    is_last = not before and not has_more
    return {
        "rows": _shown(console, rows),
        "previous": "" if is_first or not rows else f"/review?before={_text(rows[0])}",
        "next": "" if is_last or not rows else f"/review?after={_text(rows[-1])}",
        "institution": console.config.web.institution,
    }


def _shown(console: Console, rows: Sequence[ToReview]) -> list[dict[str, Any]]:
    files = console.journal.overview.sample_files([row.series_id for row in rows])
    headers = {n: read_identity(file) for n, file in files.items()}
    return [
        {
            "id": row.series_id,
            "result": row.result_id,
            "made": moment(row.created_at),
            "doubt": row.doubt,
            "doubts": [str(d.get("text", "")) for d in row.doubts],
            "header": headers.get(row.series_id),
        }
        for row in rows
    ]


# ---- to confirm ----------------------------------------------------------------------------------


def confirm_question(console: Console, asked: Asked) -> Mapping[str, Any]:
    """Return what is asked before a result is confirmed. Raises `UnknownUid`, `IllegalTransition`."""
    result = _result(console, asked, asked.query.get("result", ""))
    institution, names = _institution(console), _wanted_at(console)
    asking = _question(
        asked, result, "confirm", "Confirm this result",
        f"A verified report with the values as they are is made in the name of {asked.visitor.name}, {institution}, and"
        f" sent to {', '.join(names) or 'no destination, since none takes the report of measurements'}. It names the"
        f" unverified report as its predecessor. Values: {_values(result)}.",
        "Confirm",
    )  # fmt: skip
    return {**asking, "signs": console.config.web.auth == "local"}


def confirm(console: Console, asked: Asked) -> Response:
    """Confirm a result. Raises `ChangedMeanwhile`, `IllegalTransition`, `UnknownUid`."""
    from node.deliver.verified import encoded  # noqa: PLC0415 - it encodes, and is seldom needed

    result = _result(console, asked, str(asked.form.get("result", "")))
    by, institution = asked.visitor.name, _institution(console)
    refused = _refused_signature(console, asked)
    if refused:
        back = f"/series/{asked.path['id']}"
        return render_message(console, asked.visitor, HTTPStatus.FORBIDDEN, refused, back)
    try:  # what cannot be made is not promised
        encoded(result.folder, Decision(CONFIRMED, by, console.wall(), organization=institution))
    except DamagedResult as error:
        raise IllegalTransition(
            "the report of this result is gone or damaged; an operator may retry the series"
        ) from error
    reviews = console.writing().reviews
    reviews.confirm(result.result_id, by, institution, _wanted_at(console))
    return _back(asked)


def _refused_signature(console: Console, asked: Asked) -> str:
    """Return why the password beside a confirmation is none, "" where it is right or a proxy says who asks.

    A verified report carries the name of a person: a browser that was left open, or what else runs in one, signs nothing.
    """
    if console.config.web.auth != "local":
        return ""
    user, counted = console.users.get(asked.visitor.name), f"sign {asked.visitor.name}"
    wait_s = console.tries.wait_s(counted)
    if wait_s > 0:
        return f"too many wrong passwords; try again in {wait_s:.0f} s"
    with _comparing:
        is_right = is_password(user.hash if user else "", str(asked.form.get("password", "")))
    if not is_right:
        console.tries.wrong(counted)
        return "the password is wrong; nothing was changed"
    console.tries.right(counted)
    return ""


def _institution(console: Console) -> str:
    institution = console.config.web.institution.strip()
    if not institution:
        raise IllegalTransition(
            "a verified report names the institution; set [web] institution and restart the node"
        )
    return institution


def _wanted_at(console: Console) -> list[str]:
    """Return the destinations that are sent the report of measurements."""
    return [d.name for d in console.config.destinations if REPORT in d.sends.objects]


# ---- to reject -----------------------------------------------------------------------------------


def reject_question(console: Console, asked: Asked) -> Mapping[str, Any]:
    """Return what is asked before a result is rejected. Raises `UnknownUid`."""
    result = _result(console, asked, asked.query.get("result", ""))
    asking = _question(
        asked, result, "reject", "Reject this result",
        "A rejection note (IHE IOCM) for every object of it is sent to every destination that holds some; what was not"
        " sent is not sent any more. This cannot be undone; a retry makes a new result with new UIDs.",
        "Reject",
    )  # fmt: skip
    return {**asking, "choice": ("reason", "Reason", REJECTIONS)}


def reject(console: Console, asked: Asked) -> Response:
    """Reject a result. Raises as `confirm`."""
    result = _result(console, asked, str(asked.form.get("result", "")))
    reason = str(asked.form.get("reason", ""))
    if reason not in REJECTIONS:
        raise IllegalTransition("choose a reason of the list; nothing was changed")
    console.writing().reviews.reject(result.result_id, asked.visitor.name, reason)
    return _back(asked)


# ---- parts ---------------------------------------------------------------------------------------


def _result(console: Console, asked: Asked, result_id: str) -> ResultRow:
    """Return a result of the series. Raises `UnknownUid`."""
    known = console.journal.results.of_series(row_of(console, asked).key)
    found = next((r for r in known if r.result_id == result_id), None)
    if found is None:
        raise UnknownUid("no such result")
    return found


def _values(result: ResultRow) -> str:
    found = values_of(read_result(result.folder))
    given = found.main if found is not None else ()
    return ", ".join(f"{v.name} {v.text}" for v in given) or "none that can be read"


def _question(
    asked: Asked, result: ResultRow, action: str, title: str, text: str, button: str
) -> dict[str, Any]:
    number = asked.path["id"]
    return {
        "title": title,
        "text": text,
        "action": f"/series/{number}/{action}",
        "fields": {"result": result.result_id},
        "button": button,
        "back": f"/series/{number}",
    }


def _back(asked: Asked) -> Response:
    return RedirectResponse(f"/series/{asked.path['id']}", HTTPStatus.SEE_OTHER)


def _text(row: ToReview) -> str:
    return f"{row.doubt!r}_{row.created_at!r}_{row.result_id}"


def _place(text: str) -> ReviewPlace | None:
    found = _PLACE.fullmatch(text)
    return None if found is None else ReviewPlace(float(found[1]), float(found[2]), found[3])
