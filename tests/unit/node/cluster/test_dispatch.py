from __future__ import annotations

import pytest

from node.cluster.dispatch import Deadlines, Dispatcher
from node.cluster.port import Capacity
from node.errors import ClusterAway
from tests.support.machines import INFO, FakeMachines, image


def test_deadline_is_ten_times_the_median_and_never_less_than_the_shortest() -> None:
    deadlines = Deadlines(60.0)
    assert deadlines.limit_s == 90.0  # graphs are compiled by the first
    deadlines.add(2.0)
    assert deadlines.limit_s == 60.0
    for seconds in (9.0, 8.0):
        deadlines.add(seconds)
    assert deadlines.limit_s == 80.0


def test_old_durations_are_forgotten() -> None:
    deadlines = Deadlines(1.0)
    for _ in range(50):
        deadlines.add(100.0)
    for _ in range(50):
        deadlines.add(2.0)
    assert deadlines.limit_s == 20.0


def test_the_worker_gets_a_limit_behind_ours() -> None:
    fake = FakeMachines()
    user = Dispatcher(fake, "w2", 1, Deadlines(60.0), {}, now=fake.now)
    assert user.may_claim()
    user.segment(image())
    user.segment(image())
    assert [t.limit_s for t in fake.tasks] == [95.0, 65.0]
    assert [(t.key, t.attempt) for t in fake.tasks] == [("w2", 1), ("w2", 2)]


def test_the_model_is_known_once_a_machine_was_chosen() -> None:
    seen: list[Capacity] = []
    fake = FakeMachines(slots=0)
    user = Dispatcher(fake, "w1", 1, Deadlines(60.0), {}, seen=seen.append)
    assert not user.may_claim()
    with pytest.raises(ClusterAway):
        _ = user.info
    fake.slots = 2
    assert user.may_claim()
    assert user.info == INFO
    assert [c.slots for c in seen] == [0, 2]
