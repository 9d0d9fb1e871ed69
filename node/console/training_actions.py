"""Promotion and rollback, asked for by an operator with a reason, of what was in service when they looked."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from starlette.responses import RedirectResponse, Response

from node.console.actions import number_of
from node.console.console import Asked, Console
from node.console.render import render, render_message
from node.console.training_parts import job_of
from node.errors import IllegalTransition, PromotionRefused
from node.journal.states import JobState
from node.models.change import ChangeAsked
from node.observe.node_status import model_in_service

LONGEST_REASON: Final = 500
_changing: Final = threading.Lock()
"""One change at a time: two would copy the same bundle to the same place."""
_REASON_MISSING: Final = (
    f"Give a reason of at most {LONGEST_REASON} characters; it is kept in the journal."
)


def promotion_confirmation(console: Console, asked: Asked) -> Mapping[str, Any]:
    """Return what is asked before a promotion. Raises `UnknownJob`, `IllegalTransition`."""
    row = job_of(console, asked)
    if row.state is not JobState.PROPOSED:
        raise IllegalTransition(f"job {row.id} is {row.state}; only a proposed candidate can be promoted")  # fmt: skip
    serving = model_in_service(console.config, console.journal, console.bundle)
    return _confirmation(
        console, asked, f"Put the candidate of job {row.id} into service",
        f"It replaces {serving['name']} {serving['version']} from the next series on; results that exist stay as they"
        " are. It is copied, verified and loaded once before. A rollback brings the present model back.",
        "Put into service", f"/training/jobs/{row.id}/promote", f"/training/jobs/{row.id}/proposal",
    )  # fmt: skip


def promote(console: Console, asked: Asked) -> Response:
    """Promote. Raises `ChangedMeanwhile`, `UnknownJob`, `IllegalTransition`."""
    row = job_of(console, asked)
    return _change(console, asked, row.id, promotion_confirmation)


def rollback_confirmation(console: Console, asked: Asked) -> Mapping[str, Any]:
    """Return what is asked before a rollback. Raises `IllegalTransition`."""
    newest = console.journal.promotions.newest()
    if newest is None or newest.folder is None:
        raise IllegalTransition("the configured bundle is in service; there is no earlier bundle to roll back to")  # fmt: skip
    before = console.journal.promotions.before(newest)
    target = "the configured bundle" if before is None or before.folder is None else f"{before.name} {before.version}"  # fmt: skip
    return _confirmation(
        console, asked, "Return to the model before",
        f"{newest.name} {newest.version} is in service, since {newest.asked_by} put it there. {target} replaces it"
        " from the next series on; results that exist stay as they are.",
        "Return", "/training/rollback", "/training",
    )  # fmt: skip


def rollback(console: Console, asked: Asked) -> Response:
    """Return to the bundle before. Raises `ChangedMeanwhile`, `IllegalTransition`."""
    return _change(console, asked, None, rollback_confirmation)


def _confirmation(
    console: Console, asked: Asked, title: str, text: str, button: str, action: str, back: str
) -> Mapping[str, Any]:
    newest = console.journal.promotions.newest()
    given = asked.form.get("seen") if asked.is_post else asked.query.get("seen")
    seen = str(number_of(str(given))) if given is not None else str(newest.id if newest else 0)
    return {
        "title": title, "text": text, "action": action, "fields": {"seen": seen}, "button": button, "back": back,
        "reason": {"longest": LONGEST_REASON, "given": "", "fault": ""},
    }  # fmt: skip


def _change(console: Console, asked: Asked, job: int | None, confirmation: Any) -> Response:
    """Change the bundle in service, or ask again where there is no reason."""
    given = asked.form.get("reason")
    reason = " ".join(given.split()) if isinstance(given, str) else ""
    if not 0 < len(reason) <= LONGEST_REASON or not reason.isprintable():
        values = dict(confirmation(console, asked))
        values["reason"] = {"longest": LONGEST_REASON, "given": reason, "fault": _REASON_MISSING}
        return render(console, asked.visitor, "confirm.html", values, HTTPStatus.BAD_REQUEST)
    change = ChangeAsked(
        str(console.config.node.state), console.config.model.bundle, job, asked.visitor.name, reason,
        number_of(str(asked.form.get("seen", ""))),
    )  # fmt: skip
    back = "/training" if job is None else f"/training/jobs/{job}/proposal"
    try:
        with _changing:
            console.change(change)
    except PromotionRefused as refused:
        return render_message(console, asked.visitor, HTTPStatus.CONFLICT, str(refused), back)
    return RedirectResponse("/training", HTTPStatus.SEE_OTHER)
