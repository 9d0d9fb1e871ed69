from __future__ import annotations

from typing import Any

import pytest

from node.cluster.port import Capacity
from node.events import ClusterSeen
from node.work.machines import Teller
from tests.support.machines import INFO


def test_supervisor_hears_of_slots_and_the_log_of_every_change(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    events: list[Any] = []
    teller = Teller(events.append)
    for found in (
        Capacity(),
        Capacity(),
        Capacity(2, INFO),
        Capacity(2, INFO, ("b: version 1",)),
        Capacity(0),
    ):
        teller.tell(found)
    assert capfdbinary.readouterr().out == b"slots 0\nslots 2\nslots 0\n"
    assert events == [
        ClusterSeen(0, ()), ClusterSeen(2, ()), ClusterSeen(2, ("b: version 1",)), ClusterSeen(0, ()),
    ]  # fmt: skip


def test_the_other_workers_write_no_events(capfdbinary: pytest.CaptureFixture[bytes]) -> None:
    Teller(None).tell(Capacity(1, INFO))
    assert capfdbinary.readouterr().out == b"slots 1\n"
