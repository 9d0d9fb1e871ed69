"""One transaction for all who wait; each hears of its own object, and of nothing before it is durable."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from node.journal.instances import InstanceTable
from node.journal.journal import Journal
from node.journal.rows import NewInstance
from node.receive import group_commit
from node.receive.group_commit import GroupCommit

SENDERS = 4


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    opened = Journal.open(tmp_path / "journal.sqlite", time.time)
    yield opened
    opened.close()


def _new(folder: Path, number: int, *, uid: str = "", digest: str = "") -> NewInstance:
    path = folder / f"{number % 3:02x}" / f"{number}.dcm"
    path.parent.mkdir(exist_ok=True)
    name = uid or f"1.2.{number}"
    return NewInstance(name, "1.2", "1.2.1", "1.2.3", digest or f"d{number}", "1.2", path, 10)


def _together(
    journal: Journal, news: Sequence[NewInstance], act: Callable[[NewInstance], object]
) -> list[object]:
    """Let all act at one time, each in a thread of its own."""
    begin = threading.Barrier(len(news))

    def run(new: NewInstance) -> object:
        begin.wait(10)
        try:
            return act(new)
        except Exception as error:  # noqa: BLE001 - it is what is asked for
            return error
        finally:
            journal.close()

    with ThreadPoolExecutor(len(news)) as pool:
        return list(pool.map(run, news))


def test_who_comes_while_one_waits_for_the_disk_shares_one_transaction(
    journal: Journal, tmp_path: Path, monkeypatch: Any
) -> None:
    groups: list[int] = []
    add_all = InstanceTable.add_all

    def slow(table: InstanceTable, news: Sequence[NewInstance]) -> Any:
        groups.append(len(news))
        time.sleep(0.1)
        return add_all(table, news)

    monkeypatch.setattr(InstanceTable, "add_all", slow)
    commits = GroupCommit(journal)
    news = [_new(tmp_path, n) for n in range(12)]
    assert _together(journal, news, commits.add) == ["stored"] * 12
    assert sum(groups) == 12
    assert len(groups) < 5
    assert journal.counts()["instance.stored"] == 12


def test_nothing_is_recorded_before_its_folder_is_durable(
    journal: Journal, tmp_path: Path, monkeypatch: Any
) -> None:
    order: list[str] = []
    add_all = InstanceTable.add_all
    monkeypatch.setattr(group_commit, "sync_folder", lambda p: order.append(p.name))
    monkeypatch.setattr(
        InstanceTable, "add_all", lambda t, n: (order.append("row"), add_all(t, n))[1]
    )
    assert GroupCommit(journal).add(_new(tmp_path, 4)) == "stored"
    assert order == ["01", "row"]


def test_one_that_cannot_be_recorded_takes_no_other_with_it(
    journal: Journal, tmp_path: Path, monkeypatch: Any
) -> None:
    add = InstanceTable._add

    def bad(table: InstanceTable, tx: Any, new: NewInstance) -> Any:
        if new.sop_instance_uid == "1.2.2":
            raise sqlite3.OperationalError("disk I/O error")
        return add(table, tx, new)

    monkeypatch.setattr(InstanceTable, "_add", bad)
    outcomes = _together(
        journal, [_new(tmp_path, n) for n in range(SENDERS)], GroupCommit(journal).add
    )
    assert [o for n, o in enumerate(outcomes) if n != 2] == ["stored"] * 3
    assert isinstance(outcomes[2], sqlite3.OperationalError)
    assert journal.counts()["instance.stored"] == 3


def test_two_contents_under_one_uid_at_one_time_are_one_stored_and_the_rest_conflicts(
    journal: Journal, tmp_path: Path
) -> None:
    commits = GroupCommit(journal)
    for turn in range(10):
        news = [_new(tmp_path, n, uid=f"1.3.{turn}", digest=f"{turn}-{n}") for n in range(SENDERS)]
        outcomes = _together(journal, news, commits.add)
        assert sorted(map(str, outcomes)) == ["conflict"] * 3 + ["stored"]
    assert journal.counts()["instance.stored"] == 10
    assert journal.counts()["instance.quarantined"] == 30
