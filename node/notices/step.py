"""Look at what is wrong, remember it, and send: a loop of its own, so that a dead mail server delays nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from dicomseg.errors import LumbarError
from node.backoff import wait_s
from node.clock import Clock, local_time
from node.config.notify import NotifyConfig
from node.config.sections import Config
from node.event_log import Seldom
from node.events import Log, NoticeFailed, NoticeSent
from node.journal.journal import Journal
from node.notices.changes import find_changes
from node.notices.conditions import current_conditions
from node.notices.day import read_day, read_recent
from node.notices.mail import Mail
from node.notices.memory import Memory, Post, load, save
from node.notices.text import Message, changes_message, changes_text, digest_message, digest_text
from node.notices.webhook import Webhook
from node.observe.attention import Matter, attention
from node.observe.health import Health, read_health
from node.observe.selftest import site_matters
from node.store.layout import StateDirectory

LOOK_S: Final = 60.0
"""How often the node looks at itself; a message is not more urgent."""
BETWEEN_S: Final = 600.0
"""Shortest time between two messages of one channel: what changes meanwhile is in the next."""
FIRST_WAIT_S: Final = 60.0
LONGEST_WAIT_S: Final = 3600.0


class Channel(Protocol):
    """A way to people."""

    @property
    def name(self) -> str:
        """Name in log and memory."""
        ...

    @property
    def where(self) -> str:
        """Server, for messages."""
        ...

    def send(self, message: Message, now: float) -> None:
        """Send one message. Raises `LumbarError`."""
        ...


def build_channels(config: NotifyConfig, node: str) -> list[Channel]:
    """Return the configured channels."""
    channels: list[Channel] = []
    if config.mail_host:
        channels.append(Mail(config))
    if config.webhook:
        channels.append(Webhook(config, node))
    return channels


@dataclass(slots=True)
class NoticeStep:
    """Sends messages. health: how the node is; None reads what it reports of itself.

    connections: what needs attention in `[tls]` at a moment.
    """

    config: NotifyConfig
    node: str
    state: Path
    journal: Journal
    channels: Sequence[Channel]
    clock: Clock
    log: Log
    health: Callable[[], Health] | None = None
    connections: Callable[[float], Sequence[Matter]] = lambda _: ()
    _memory: Memory = field(init=False)
    _looked_at: float | None = None
    _is_new: Seldom = field(init=False)

    @classmethod
    def of(cls, config: Config, journal: Journal, clock: Clock, log: Log) -> NoticeStep | None:
        """Build it, None where neither mail nor a webhook is configured."""
        channels = build_channels(config.notify, config.node.name)
        if not channels:
            return None
        node = config.node
        return cls(
            config.notify, node.name, node.state, journal, channels, clock, log,
            connections=partial(site_matters, config),
        )  # fmt: skip

    def __post_init__(self) -> None:
        self._memory = load(self._path)
        self._is_new = Seldom(self.clock.monotonic)
        if (
            not self._memory.digest_on
        ):  # the first start: the next digest is tomorrow's or today's later
            self._memory = replace(self._memory, digest_on=self._day_due())

    @property
    def _path(self) -> Path:
        return StateDirectory(self.state).notices

    def run_once(self) -> int:
        """Look, if it is time, and send what waits; returns how many messages were sent."""
        now = self.clock.monotonic()
        if self._looked_at is not None and now - self._looked_at < LOOK_S:
            return 0
        self._looked_at = now
        self._look()
        return sum(self._deliver(channel) for channel in self.channels)

    def _look(self) -> None:
        now = self.clock.wall()
        health = read_health(self.state, now) if self.health is None else self.health()
        matters = [*self.connections(now), *attention(self.journal)]
        conditions = current_conditions(matters, health, read_recent(self.journal, now))
        memory, changes = find_changes(self._memory, conditions, now)
        if changes:
            memory = _posted(memory, self.channels, lambda p: p.with_changes((changes_text(changes, now),)))  # fmt: skip
        due = self._day_due()
        if self.config.digest and memory.digest_on < due:
            text = digest_text(read_day(self.journal, now), list(conditions.values()), now)
            memory = _posted(memory, self.channels, lambda p: replace(p, digest=text))
            memory = replace(memory, digest_on=due)
        self._remember(memory)

    def _day_due(self) -> str:
        """Return the day of the newest digest that is due: today's after its time, else yesterday's."""
        now = local_time(self.clock.wall())
        hour, _, minute = (self.config.digest or "00:00").partition(":")
        past = (now.hour, now.minute) >= (int(hour), int(minute))
        day = now.date() if past else local_time(self.clock.wall() - 86_400).date()
        return day.isoformat()

    def _deliver(self, channel: Channel) -> int:
        post = self._memory.posts.get(channel.name, Post())
        now = self.clock.wall()
        # A wait of more than the longest is one of a clock that was set back.
        if now < post.next_at <= now + LONGEST_WAIT_S * 2:
            return 0
        messages = self._messages(post)
        sent = 0
        for message in messages:
            try:
                channel.send(message, now)
            except LumbarError as error:
                self._failed(channel, str(error))
                return sent
            sent += 1
            self._sent(channel, message)
        return sent

    def _messages(self, post: Post) -> list[Message]:
        messages = []
        if post.changes:
            messages.append(changes_message(self.node, post.changes, post.dropped))
        if post.digest:
            messages.append(digest_message(self.node, post.digest))
        return messages

    def _sent(self, channel: Channel, message: Message) -> None:
        post = self._memory.posts[channel.name]
        next_at = self.clock.wall() + BETWEEN_S
        done = (
            replace(post, digest="", tries=0, next_at=next_at)
            if message.kind == "digest"
            else replace(post, changes=(), dropped=0, tries=0, next_at=next_at)
        )
        self._remember(replace(self._memory, posts={**self._memory.posts, channel.name: done}))
        self.log(NoticeSent(channel.name, message.kind))

    def _failed(self, channel: Channel, reason: str) -> None:
        post = self._memory.posts[channel.name]
        tries = post.tries + 1
        next_at = self.clock.wall() + wait_s(tries, FIRST_WAIT_S, LONGEST_WAIT_S)
        failed = replace(post, tries=tries, next_at=next_at)
        self._remember(replace(self._memory, posts={**self._memory.posts, channel.name: failed}))
        if tries == 1 or self._is_new(reason):
            self.log(NoticeFailed(channel.name, reason, tries))

    def _remember(self, memory: Memory) -> None:
        if memory != self._memory:
            self._memory = memory  # first: on a full disk the same is not reported every minute
            save(self._path, memory)


def _posted(memory: Memory, channels: Sequence[Channel], add: Callable[[Post], Post]) -> Memory:
    posts = {c.name: add(memory.posts.get(c.name, Post())) for c in channels}
    return replace(memory, posts={**memory.posts, **posts})
