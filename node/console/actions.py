"""What an operator asks for: another try, another delivery, to take a result back, a test of a destination."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import RedirectResponse, Response

from node.config.words import nearest
from node.console.console import Asked, Console
from node.console.detail import row_of
from node.errors import UnknownUid
from node.journal.journal import Journal
from node.journal.requests import Seen
from node.tls.credentials import Credentials

if TYPE_CHECKING:
    from node.config.destinations import DestinationConfig
    from node.deliver.echo import EchoResult

_LARGEST: Final = 2**63 - 1


def retry_confirmation(console: Console, asked: Asked) -> Mapping[str, Any]:
    """Return what is asked before a retry."""
    row = row_of(console, asked)
    return _confirmation(
        asked, "Retry this series",
        f"The series is {row.state}. Failed deliveries are sent again; where there are none, the rules judge it"
        " again and it is processed again. The same input gives the same result, under the same UIDs.",
        "Retry",
    )  # fmt: skip


def retry(console: Console, asked: Asked) -> Response:
    """Retry. Raises `ChangedMeanwhile`, `IllegalTransition`, `UnknownUid`."""
    _journal(console).requests.retry(_seen(asked))
    return _back(asked)


def redelivery_confirmation(console: Console, asked: Asked) -> Mapping[str, Any]:
    """Return what is asked before a delivery is sent again. Raises `UnknownUid`."""
    row = row_of(console, asked)
    number = number_of(asked.query.get("delivery", ""))
    one = next((d for d in console.journal.deliveries.of_series(row.key) if d.id == number), None)
    if one is None:
        raise UnknownUid(f"no delivery {number}")
    return _confirmation(
        asked, f"Send again to {one.destination}",
        f"The {one.kind} {one.result_id[:8]} is {one.state} at {one.destination}. Every object is sent again and"
        " proved again; a destination that has an object keeps its own.",
        "Send again", delivery=str(one.id),
    )  # fmt: skip


def redeliver(console: Console, asked: Asked) -> Response:
    """Send a delivery again. Raises as `retry`."""
    number = number_of(str(asked.form.get("delivery", "")))
    _journal(console).requests.redeliver(_seen(asked), number)
    return _back(asked)


def withdrawal_confirmation(console: Console, asked: Asked) -> Mapping[str, Any]:
    """Return what is asked before a result is taken back. Raises `UnknownUid`."""
    row, result = row_of(console, asked), asked.query.get("result", "")
    known = [r for r in console.journal.results.of_series(row.key) if r.result_id == result]
    if not known:
        raise UnknownUid("no such result")
    holders = sorted({
        d.destination for d in console.journal.deliveries.of_series(row.key)
        if d.result_id == result and d.kind == "result" and d.accepted
    })  # fmt: skip
    return _confirmation(
        asked, "Take this result back",
        f"A rejection note (IHE IOCM) for every object of result {result[:8]} is sent to"
        f" {', '.join(holders) or 'no destination, since none holds any'}. The result is not sent any more."
        " This cannot be undone; a retry makes a new result with new UIDs.",
        "Take back", result=result,
    )  # fmt: skip


def withdraw(console: Console, asked: Asked) -> Response:
    """Take a result back. Raises as `retry`."""
    _journal(console).requests.withdraw(_seen(asked), str(asked.form.get("result", "")))
    return _back(asked)


def echo_confirmation(_console: Console, asked: Asked) -> Mapping[str, Any]:
    """Return what is asked before a test of one destination, or of all."""
    name = asked.path.get("name", "")
    return {
        "title": f"Test {name or 'every destination'}",
        "text": "They are asked whether they respond and which objects they accept; nothing is stored.",
        "action": f"/destinations/{name}/echo" if name else "/destinations/echo",
        "fields": {},
        "button": "Test",
        "back": "/destinations",
    }


def echo(console: Console, asked: Asked) -> Response:
    """Begin to test one destination, or all. Raises `UnknownUid`, `IllegalTransition`."""
    config, name = console.config, asked.path.get("name")
    chosen = [d for d in config.destinations if name in {None, d.name}]
    if not chosen:
        names = [d.name for d in config.destinations]
        hint = nearest(name, names) if name and names else ""
        raise UnknownUid(f"no destination of that name{hint}")
    console.echo_tests.start({d.name: partial(_asked, console, d) for d in chosen})
    return RedirectResponse("/destinations", HTTPStatus.SEE_OTHER)


def _asked(console: Console, chosen: DestinationConfig) -> EchoResult:
    from node.deliver.echo import echo_all  # noqa: PLC0415 - the network libraries take a second, and are seldom used
    from node.deliver.factory import build  # noqa: PLC0415
    from node.deliver.offers import offers_for  # noqa: PLC0415

    credentials = console.credentials or Credentials(console.config.tls)
    destination = build(chosen, console.config.node.ae_title, credentials)
    (result,) = echo_all([(destination, offers_for(chosen))])
    return result


# ---- parts ---------------------------------------------------------------------------------------


def _confirmation(
    asked: Asked, title: str, text: str, button: str, **fields: str
) -> Mapping[str, Any]:
    number = asked.path["id"]
    seen = str(number_of(asked.query.get("seen", "0")))
    action = {"Retry": "retry", "Send again": "redeliver", "Take back": "withdraw"}[button]
    return {
        "title": title,
        "text": text,
        "action": f"/series/{number}/{action}",
        "fields": {"seen": seen, **fields},
        "button": button,
        "back": f"/series/{number}",
    }


def _seen(asked: Asked) -> Seen:
    number, event = int(asked.path["id"]), number_of(str(asked.form.get("seen", "")))
    if number > _LARGEST:
        raise UnknownUid(f"no series {number}")
    return Seen(number, event, asked.visitor.name)


def number_of(text: str) -> int:
    """Return a number of a row; 0, which no row has, for anything else."""
    return int(text) if text.isdecimal() and text.isascii() and len(text) < 19 else 0


def _back(asked: Asked) -> Response:
    return RedirectResponse(f"/series/{asked.path['id']}", HTTPStatus.SEE_OTHER)


def _journal(console: Console) -> Journal:
    return console.writing()
