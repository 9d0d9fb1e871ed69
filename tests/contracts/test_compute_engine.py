"""What every engine of the port promises, and what its user makes of one that keeps no promise."""

from __future__ import annotations

import itertools

import pytest

from dicomseg.errors import SeriesRefused
from node.cluster.dispatch import FIRST_S, GRACE_S, Deadlines, Dispatcher
from node.cluster.local import LocalEngine
from node.cluster.port import Abandoned, ComputeEngine, Done, Refused, Task
from node.errors import AttemptLost, ClusterAway
from tests.support.machines import (
    INFO,
    FakeMachines,
    Fate,
    assert_same,
    image,
    model,
    segmented,
)


def _refuse(*_: object) -> None:
    raise SeriesRefused("no level")


def _local() -> ComputeEngine:
    return LocalEngine(model, lambda volume, _: segmented(volume))


@pytest.fixture(params=[_local, FakeMachines], ids=["local", "fake"])
def engine(request: pytest.FixtureRequest) -> ComputeEngine:
    made: ComputeEngine = request.param()
    return made


def _task(number: int, key: str = "w1") -> Task:
    return Task(key, number, image(number), INFO, 60.0)


# ---- the engines ----


def test_each_task_is_answered_once_by_name(engine: ComputeEngine) -> None:
    capacity = engine.capacity()
    assert capacity.info == INFO
    assert capacity.slots >= 1
    for number in range(3):
        engine.submit(_task(number))
        (answer,) = engine.poll(1.0)
        assert isinstance(answer, Done)
        assert (answer.key, answer.attempt) == ("w1", number)
        assert_same(answer.found, segmented(image(number)))
        assert list(engine.poll(0.0)) == []


def test_an_error_is_an_answer() -> None:
    fake = FakeMachines(["refused"], error=SeriesRefused("no level"))
    for engine in (LocalEngine(model, _refuse), fake):  # type: ignore[arg-type]
        engine.submit(_task(1))
        (answer,) = engine.poll(1.0)
        assert isinstance(answer, Refused)
        assert isinstance(answer.error, SeriesRefused)


def test_what_was_abandoned_before_it_began_is_not_computed() -> None:
    engine = _local()
    engine.submit(_task(1))
    engine.submit(_task(2))
    assert engine.abandon("w1", 1) == Abandoned(begun=False)
    (answer,) = engine.poll(1.0)
    assert answer.attempt == 2
    assert list(engine.poll(1.0)) == []


def test_the_local_model_is_loaded_when_it_is_needed_and_once() -> None:
    loads = itertools.count()

    def load():  # type: ignore[no-untyped-def]
        next(loads)
        return model()

    engine = LocalEngine(load, lambda volume, _: segmented(volume))
    assert next(loads) == 0
    engine.capacity()
    engine.capacity()
    assert next(loads) == 2


# ---- their user ----


def _dispatcher(fake: FakeMachines, number: int = 1, local: ComputeEngine | None = None) -> Dispatcher:  # fmt: skip
    return Dispatcher(fake, "w1", number, Deadlines(60.0), {}, local, now=fake.now)


@pytest.mark.parametrize("fates", list(itertools.permutations(["late", "doubled", "lost"])))
def test_every_series_gets_its_own_answer_whatever_happens_to_others(fates: list[Fate]) -> None:
    fake = FakeMachines(list(fates))
    user = _dispatcher(fake)
    results, losses = [], 0
    for number in range(6):
        assert user.may_claim()
        while True:  # as the journal gives it out again
            try:
                results.append(user.segment(image(number)))
                break
            except AttemptLost:
                losses += 1
    for number, found in enumerate(results):
        assert_same(found, segmented(image(number)))
    assert losses == 2
    assert user.late == 2
    assert len({(t.key, t.attempt) for t in fake.tasks}) == len(fake.tasks) == 8


def test_a_silent_machine_is_given_up_at_the_deadline_with_its_name() -> None:
    fake = FakeMachines(["silent"])
    user = _dispatcher(fake)
    assert user.may_claim()
    with pytest.raises(AttemptLost, match=r"host7 had no answer within 190 s"):
        user.segment(image())
    # It may have waited behind one more: two limits, each with the moment in which a worker ends itself.
    patience_s = 2 * (60.0 + FIRST_S + GRACE_S)
    assert patience_s < fake.now() <= patience_s + 2.0
    assert fake.abandoned == [("w1", 1)]


def test_a_series_that_no_machine_had_begun_at_the_deadline_was_no_attempt() -> None:
    user = _dispatcher(FakeMachines(["silent"], begun=False))
    assert user.may_claim()
    with pytest.raises(ClusterAway, match=r"host7 had other work for 190 s"):
        user.segment(image())


def test_an_answer_of_another_model_is_no_answer() -> None:
    user = _dispatcher(FakeMachines(["other"]))
    assert user.may_claim()
    with pytest.raises(AttemptLost, match="host7 computed with 9 on y"):
        user.segment(image())


def test_a_refusal_and_a_cluster_that_is_gone_come_as_what_they_are() -> None:
    user = _dispatcher(FakeMachines(["refused", "away"], error=SeriesRefused("no level")))
    assert user.may_claim()
    with pytest.raises(SeriesRefused, match="no level"):
        user.segment(image())
    with pytest.raises(ClusterAway, match="does not answer"):
        user.segment(image())


@pytest.mark.parametrize(
    ("slots", "fallback", "claiming"),
    [(0, False, 0), (0, True, 1), (1, False, 2), (1, True, 2), (3, False, 4)],
)
def test_in_flight_are_slots_and_one(slots: int, fallback: bool, claiming: int) -> None:
    users = [
        _dispatcher(FakeMachines(slots=slots), number, _local() if fallback else None)
        for number in range(1, 7)
    ]
    assert [u.may_claim() for u in users] == [n <= claiming for n in range(1, 7)]


def test_the_fallback_computes_here_until_the_cluster_is_back() -> None:
    fake = FakeMachines(slots=0)
    user = _dispatcher(fake, local=_local())
    assert user.may_claim()
    assert_same(user.segment(image(3)), segmented(image(3)))
    assert fake.tasks == []
    fake.slots = 1
    assert user.may_claim()
    assert_same(user.segment(image(4)), segmented(image(4)))
    assert len(fake.tasks) == 1
