"""`echo` and `check-config`: who answers, without sending anything."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from node.deliver.port import Destination, PeerUnreachable


@dataclass(frozen=True, slots=True)
class Reached:
    """What one destination answered."""

    name: str
    answers: bool
    text: str


def reach_all(destinations: Sequence[Destination]) -> tuple[Reached, ...]:
    """Try every destination, side by side so that dead ones do not add up their time-outs."""
    if not destinations:
        return ()
    with ThreadPoolExecutor(max_workers=min(8, len(destinations))) as pool:
        return tuple(pool.map(_reach, destinations))


def _reach(destination: Destination) -> Reached:
    try:
        return Reached(destination.name, True, destination.reach())
    except PeerUnreachable as error:
        return Reached(destination.name, False, str(error))
    except Exception as error:  # noqa: BLE001 - the other destinations are asked all the same
        # Never the error's own words: they may quote a URL or a header with its secret.
        text = f"destination {destination.name}: unexpected {type(error).__name__}; check its configuration"
        return Reached(destination.name, False, text)
