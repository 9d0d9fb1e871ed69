from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from itertools import pairwise
from pathlib import Path

import pytest

from node.config.notify import NotifyConfig
from node.errors import NoticeUndelivered
from node.events import Event, NoticeFailed, NoticeSent
from node.journal.journal import Journal
from node.journal.rows import NewInstance, SeriesKey
from node.notices.step import BETWEEN_S, LOOK_S, NoticeStep
from node.notices.text import Message
from node.observe.health import Health
from tests.support.clock import Clock

KEY = SeriesKey("1.2.1", "1.2.3")
ILL = Health((), ("0 of 1 workers ready; wait",))


@dataclass
class Recorded:
    """A channel that records, and refuses while `broken`."""

    name: str = "mail"
    where: str = "mail.example:587"
    broken: bool = False
    messages: list[Message] = field(default_factory=list)

    def send(self, message: Message, now: float) -> None:  # noqa: ARG002
        if self.broken:
            raise NoticeUndelivered("mail to mail.example:587: Connection refused")
        self.messages.append(message)

    @property
    def kinds(self) -> list[str]:
        return [m.kind for m in self.messages]


@dataclass
class World:
    """A step, its channel and its clock; `restart` begins it again from the file."""

    journal: Journal
    clock: Clock
    state: Path
    digest: str = ""
    channel: Recorded = field(default_factory=Recorded)
    health: Health = field(default_factory=Health)
    events: list[Event] = field(default_factory=list)
    step: NoticeStep = field(init=False)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self) -> None:
        config = NotifyConfig(digest=self.digest)
        self.step = NoticeStep(
            config,
            "node",
            self.state,
            self.journal,
            [self.channel],
            self.clock,
            self.events.append,
            lambda: self.health,
        )  # type: ignore[arg-type]

    def run(self, minutes: int) -> None:
        for _ in range(minutes):
            self.clock.pass_s(LOOK_S)
            self.step.run_once()


@pytest.fixture
def world(journal: Journal, clock: Clock, tmp_path: Path) -> World:
    return World(journal, clock, tmp_path)


def test_new_fault_and_its_end_are_one_message_each(world: World) -> None:
    world.run(10)
    assert world.channel.messages == []
    world.health = ILL
    world.run(600)
    assert world.channel.kinds == ["changes"]
    assert "0 of 1 workers ready" in world.channel.messages[0].text
    world.health = Health()
    world.run(60)
    assert world.channel.kinds == ["changes", "changes"]
    assert world.channel.messages[1].subject == "[node] over: node"


def test_restart_neither_forgets_nor_repeats(world: World) -> None:
    world.health = ILL
    world.run(3)
    world.restart()
    world.run(4)
    assert world.channel.kinds == ["changes"]
    world.restart()
    world.run(60)
    assert world.channel.kinds == ["changes"]
    world.health = Health()
    world.restart()
    world.run(20)
    assert len(world.channel.messages) == 2


def test_dead_mail_server_delays_nothing_and_everything_comes_later_in_one(world: World) -> None:
    world.channel.broken = True
    world.health = ILL
    world.run(60)
    world.restart()
    world.health = Health()
    world.run(60)
    assert world.channel.messages == []
    assert isinstance(world.events[0], NoticeFailed)
    assert sum(isinstance(e, NoticeFailed) for e in world.events) < 10
    world.channel.broken = False
    world.run(61)
    (message,) = world.channel.messages
    assert "New, " in message.text
    assert "Over, " in message.text
    assert world.events[-1] == NoticeSent("mail", "changes")


def test_messages_are_minutes_apart_however_much_changes(world: World) -> None:
    times: list[float] = []
    for n in range(30):
        world.health = Health((), (f"fault {chr(97 + n % 26)}{chr(97 + n // 26)}; wait",))
        before = len(world.channel.messages)
        world.run(6)
        times += [world.clock.wall()] * (len(world.channel.messages) - before)
    assert len(times) > 5
    assert min(b - a for a, b in pairwise(times)) >= BETWEEN_S - 6 * LOOK_S
    assert len(times) <= 30 * 6 * LOOK_S / BETWEEN_S + 1


def test_digest_once_a_day_at_its_time_also_after_a_stop(
    world: World, facts: Callable[..., NewInstance]
) -> None:
    at = datetime.fromtimestamp(world.clock.wall()).astimezone()
    world.digest = at.replace(hour=(at.hour + 2) % 24, minute=0).strftime("%H:%M")
    world.restart()
    world.journal.instances.add(facts(1))
    world.run(24 * 60)
    assert world.channel.kinds == ["digest"]
    assert "Received: 1 objects (1 MR1)" in world.channel.messages[0].text
    world.clock.pass_s(3 * 86_400)
    world.restart()
    world.run(5)
    assert world.channel.kinds == ["digest", "digest"], "one for the days that were missed"
    world.clock.jump_s(-7200)
    world.run(10)
    assert world.channel.kinds == ["digest", "digest"]


def test_first_start_sends_no_digest_of_a_time_that_is_past(world: World) -> None:
    at = datetime.fromtimestamp(world.clock.wall() - 3600).astimezone()
    world.digest = at.strftime("%H:%M")
    world.restart()
    world.run(10)
    assert world.channel.messages == []


def test_full_disk_repeats_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.health = ILL
    world.run(1)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("node.notices.step.save", full)
    for _ in range(30):
        world.clock.pass_s(LOOK_S)
        try:
            world.step.run_once()
        except OSError:
            continue
    assert world.channel.kinds == ["changes"]
