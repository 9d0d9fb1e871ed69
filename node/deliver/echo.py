"""`echo` and `check-config`: which destinations answer, and which objects they take; nothing is sent."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from node.deliver.offers import Acceptance, Offer
from node.deliver.port import Destination
from node.errors import PeerUnreachable


@dataclass(frozen=True, slots=True)
class EchoResult:
    """The answer of one destination; objects: what it says to everything that it will be sent."""

    name: str
    answers: bool
    text: str
    objects: tuple[Acceptance, ...] = ()

    @property
    def usable(self) -> bool:
        """Whether it answers and refuses nothing."""
        return self.answers and not any(o.value == "refused" for o in self.objects)


def echo_all(
    destinations: Sequence[tuple[Destination, Sequence[Offer]]],
) -> tuple[EchoResult, ...]:
    """Try every destination with what it will be sent, side by side so that time-outs do not add up."""
    if not destinations:
        return ()
    with ThreadPoolExecutor(max_workers=min(8, len(destinations))) as pool:
        return tuple(pool.map(lambda pair: _reach(*pair), destinations))


def _reach(destination: Destination, offers: Sequence[Offer]) -> EchoResult:
    try:
        answer = destination.echo(offers)
        return EchoResult(destination.name, True, answer.text, answer.objects)
    except PeerUnreachable as error:
        return EchoResult(destination.name, False, str(error))
    except Exception as error:  # noqa: BLE001 - the other destinations are asked all the same
        # Never the error's own text: they may quote a URL or a header with its secret.
        text = f"destination {destination.name}: unexpected {type(error).__name__}; check its configuration"
        return EchoResult(destination.name, False, text)
