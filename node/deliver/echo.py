"""`echo` and `check-config`: which destinations answer; nothing is sent."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from node.deliver.port import Destination
from node.errors import PeerUnreachable


@dataclass(frozen=True, slots=True)
class EchoResult:
    """The answer of one destination."""

    name: str
    answers: bool
    text: str


def echo_all(destinations: Sequence[Destination]) -> tuple[EchoResult, ...]:
    """Try every destination, side by side so that dead ones do not add up their time-outs."""
    if not destinations:
        return ()
    with ThreadPoolExecutor(max_workers=min(8, len(destinations))) as pool:
        return tuple(pool.map(_reach, destinations))


def _reach(destination: Destination) -> EchoResult:
    try:
        return EchoResult(destination.name, True, destination.echo())
    except PeerUnreachable as error:
        return EchoResult(destination.name, False, str(error))
    except Exception as error:  # noqa: BLE001 - the other destinations are asked all the same
        # Never the error's own text: they may quote a URL or a header with its secret.
        text = f"destination {destination.name}: unexpected {type(error).__name__}; check its configuration"
        return EchoResult(destination.name, False, text)
