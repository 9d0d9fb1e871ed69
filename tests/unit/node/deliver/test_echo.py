from __future__ import annotations

import threading
from collections.abc import Sequence

from node.deliver.echo import EchoResult, echo_all
from node.deliver.memory import InMemory
from node.deliver.offers import EchoAnswer, Offer
from node.errors import PeerUnreachable


class Silent(InMemory):
    """A destination that does not answer."""

    def echo(self, offers: Sequence[Offer] = ()) -> EchoAnswer:  # noqa: ARG002
        raise PeerUnreachable(f"destination {self.name}: no peer there; check that it runs")


def test_every_destination_is_told_in_order() -> None:
    found = echo_all([(InMemory("a"), ()), (Silent("b"), ()), (InMemory("c"), ())])
    assert [(r.name, r.answers) for r in found] == [("a", True), ("b", False), ("c", True)]
    assert found[1] == EchoResult("b", False, "destination b: no peer there; check that it runs")


def test_they_are_tried_side_by_side() -> None:
    meeting = threading.Barrier(2, timeout=10)

    class Meets(InMemory):
        def echo(self, offers: Sequence[Offer] = ()) -> EchoAnswer:  # noqa: ARG002
            meeting.wait()
            return EchoAnswer("met")

    assert all(r.answers for r in echo_all([(Meets("a"), ()), (Meets("b"), ())]))


def test_a_fault_of_one_destination_is_told_and_the_others_are_asked() -> None:
    class Breaks(InMemory):
        def echo(self, offers: Sequence[Offer] = ()) -> EchoAnswer:  # noqa: ARG002
            raise ValueError("Bearer secret")

    broken, other = echo_all([(Breaks("a"), ()), (InMemory("b"), ())])
    assert (broken.answers, other.answers) == (False, True)
    assert "unexpected ValueError" in broken.text
    assert "secret" not in broken.text


def test_no_destination_is_nothing_to_do() -> None:
    assert echo_all([]) == ()
