"""The pages by their address: which template, made of what, and for whom."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final

from starlette.responses import Response

from node.console import (
    actions,
    corrections,
    detail,
    listing,
    node_pages,
    proposal,
    reviewing,
    training_actions,
    training_pages,
)
from node.console.console import Asked, Console
from node.console.picture import summary_png
from node.console.render import render_message
from node.console.users import Role
from node.errors import UnknownUid

Values = Callable[[Console, Asked], Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Page:
    """A template and what fills it."""

    template: str
    values: Values


@dataclass(frozen=True, slots=True)
class Act:
    """Something that is asked for: the question before it, and what is done."""

    confirmation: Values
    perform: Callable[[Console, Asked], Response]
    refusal: str = "only an operator may do this; ask one"
    for_physicians: bool = False

    def is_allowed(self, role: Role) -> bool:
        """Return whether a role may ask for it."""
        return role.reviews if self.for_physicians else role.acts


_PHYSICIAN: Final = "only a physician may do this; ask one"


PAGES: Final[Mapping[str, Page]] = MappingProxyType(
    {
        "/": Page("overview.html", node_pages.overview_page),
        "/series": Page("series_list.html", listing.series_page),
        "/series/{id:int}": Page("series.html", detail.detail_page),
        "/review": Page("review.html", reviewing.review_page),
        "/corrections": Page("corrections.html", corrections.corrections_page),
        "/destinations": Page("destinations.html", node_pages.destinations_page),
        "/senders": Page("senders.html", node_pages.senders_page),
        "/disk": Page("disk.html", node_pages.disk_page),
        "/model": Page("model.html", node_pages.model_page),
        "/training": Page("training.html", training_pages.training_page),
        "/training/jobs/{id:int}": Page("training_job.html", training_pages.job_page),
        "/training/jobs/{id:int}/proposal": Page("proposal.html", proposal.proposal_page),
        "/training/runs/{name}": Page("training_run.html", training_pages.run_page),
    }
)
ACTIONS: Final[Mapping[str, Act]] = MappingProxyType(
    {
        "/series/{id:int}/retry": Act(actions.retry_confirmation, actions.retry),
        "/series/{id:int}/redeliver": Act(actions.redelivery_confirmation, actions.redeliver),
        "/series/{id:int}/withdraw": Act(actions.withdrawal_confirmation, actions.withdraw),
        "/series/{id:int}/confirm": Act(
            reviewing.confirm_question, reviewing.confirm, _PHYSICIAN, for_physicians=True
        ),
        "/series/{id:int}/reject": Act(
            reviewing.reject_question, reviewing.reject, _PHYSICIAN, for_physicians=True
        ),
        "/destinations/echo": Act(actions.echo_confirmation, actions.echo),
        "/destinations/{name}/echo": Act(actions.echo_confirmation, actions.echo),
        "/training/jobs/{id:int}/promote": Act(
            training_actions.promotion_confirmation, training_actions.promote
        ),
        "/training/rollback": Act(
            training_actions.rollback_confirmation, training_actions.rollback
        ),
    }
)


def picture(console: Console, asked: Asked) -> Response:
    """Return the planning page of a series' newest result as PNG. Raises `UnknownUid` where there is none."""
    if not asked.visitor.role.sees_patients:
        text = "pictures are for physicians and operators"
        return render_message(console, asked.visitor, HTTPStatus.FORBIDDEN, text)
    results = console.journal.results.of_series(detail.row_of(console, asked).key)
    content = summary_png(results[-1].folder) if results else None
    if content is None:
        raise UnknownUid("no picture")
    return Response(content, media_type="image/png")
