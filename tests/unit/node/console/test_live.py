from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from node.console.live import MOST_READERS, MOST_WAITING, Live, TooManyReaders
from node.journal.journal import Journal
from node.journal.refusals import Refusal
from tests.support.consoles import run_apart


@pytest.fixture
def live(journal: Journal, tmp_path: Path) -> Any:
    """One thread has a connection of its own, so that it notices what the test writes."""
    reading = Journal.reading(journal.database.path, journal.database.now)
    reading.close()
    with ThreadPoolExecutor(1) as pool:
        made = Live(reading, pool)
        yield made
        pool.submit(reading.close).result()


def _look(live: Live) -> Any:
    return live.executor.submit(live.look).result()


def test_a_look_names_the_series_that_changed_and_nothing_twice(
    journal: Journal, facts: Any, live: Live
) -> None:
    journal.instances.add(facts(1))
    assert _look(live) is None  # what was there before is no news
    journal.instances.add(facts(2, study_uid="1.9", series_uid="1.9.1"))
    journal.series.in_states()
    message = _look(live)
    number = journal.changes.newest()["event"]
    assert (message["event"], message["id"]) == ("changed", str(number))
    assert json.loads(message["data"]) == {"series": [2]}
    assert _look(live) is None
    missed = live.executor.submit(live.since, 0).result()
    assert json.loads(missed["data"]) == {"series": [1, 2]}
    assert live.executor.submit(live.since, number).result() is None


def test_a_reader_that_does_not_read_is_ended(live: Live) -> None:
    async def story() -> list[Any]:
        slow, quick = live.join(), live.join()
        for n in range(MOST_WAITING + 1):
            live.send({"event": "changed", "id": str(n), "data": "{}"})
            quick.waiting.get_nowait()
        assert live.readers == {quick}
        return [m async for m in live.stream(slow, None, lambda: True)]

    got = run_apart(story())
    assert [m["event"] for m in got] == ["ready"] + ["changed"] * MOST_WAITING


def test_a_stream_ends_with_its_login_and_readers_are_bounded(live: Live) -> None:
    async def story() -> list[Any]:
        reader = live.join()
        live.send({"event": "changed", "id": "1", "data": "{}"})
        got = [m async for m in live.stream(reader, None, lambda: False)]
        assert not live.readers
        for _ in range(MOST_READERS):
            live.join()
        with pytest.raises(TooManyReaders):
            live.join()
        return got

    assert [m["event"] for m in run_apart(story())] == ["ready"]


def test_a_refusal_and_the_answer_of_a_destination_are_news_for_pages_about_all(
    journal: Journal, live: Live
) -> None:
    assert _look(live) is None
    journal.refusals.add([Refusal("MR1", "10.0.0.5", "association", 1, 1.0, 1.0, "no caller")])
    assert json.loads(_look(live)["data"]) == {"series": []}
    assert _look(live) is None
    answers = [0]
    live.tests = lambda: answers[0]
    answers[0] += 1
    assert json.loads(_look(live)["data"]) == {"series": []}
    assert _look(live) is None
