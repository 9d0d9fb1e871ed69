"""Write the audit trail: what the journal recorded since the last entry, and what was heard of the log.

The trail itself says how far the journal was read, so that a kill loses nothing of it and doubles nothing. What
comes from the log alone (associations) is written within a second; a kill loses that second.
"""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from node.audit.entry import AuditEvent, Entry, Participant, Source
from node.audit.from_journal import EVENT, PROMOTION, Places, Reader, promotion_entry
from node.audit.from_log import Listener
from node.audit.trail import Head, Trail, source_after
from node.clock import Clock
from node.config import render
from node.config.audit import AuditConfig
from node.config.destinations import DestinationConfig
from node.config.secret_files import read_secret
from node.config.sections import Config
from node.journal.journal import Journal
from node.program import program_version
from node.store.layout import StateDirectory

LOOK_S: Final = 1.0
"""Between two looks: entries of a second share one wait for the disk."""
ANCHOR_S: Final = 86_400.0
MOST_AT_ONCE: Final = 500
"""Events of the journal that are read at once."""

_A = AuditEvent


def open_trail(config: Config, clock: Clock | None = None) -> Trail:
    """Return the trail of a configured node. Raises `SecretUnusable`."""
    folder = StateDirectory(config.node.state).audit
    return Trail(folder, trail_key(config.audit), (clock or Clock()).wall)


def unkeyed_trail(config: Config) -> Trail:
    """Return the trail for reading alone, whatever its key."""
    return Trail(StateDirectory(config.node.state).audit, b"", Clock().wall)


def trail_key(config: AuditConfig) -> bytes:
    """Return the key of the trail, empty without one. Raises `SecretUnusable`."""
    return read_secret(config.key_file).encode("ascii") if config.key_file else b""


def places(config: Config) -> Places:
    """Return who takes part in what is audited."""
    own = Participant("application", ae_title=config.node.ae_title, process=os.getpid())
    return Places(own, {d.name: _participant(d) for d in config.destinations})


def _participant(config: DestinationConfig) -> Participant:
    if config.kind == "dicom":
        return Participant("destination", config.ae_title, config.host, name=config.name)
    address = config.url if config.kind == "dicomweb" else str(config.path)
    return Participant("destination", address=address, name=config.name)


def account() -> str:
    """Return the name of the account that runs this process."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # any number runs in a container
        return str(os.getuid())


@dataclass(slots=True)
class AuditStep:
    """Writes entries. `hear` takes the events of the log; `run_once` is the step."""

    trail: Trail
    journal: Journal
    config: Config
    clock: Clock
    listener: Listener
    reader: Reader
    _next: dict[str, Source] = field(default_factory=dict)
    _left: tuple[Entry, ...] = ()
    _due: float = 0.0
    _anchor_due: float = 0.0
    _is_closed: bool = False

    @classmethod
    def of(cls, config: Config, journal: Journal, clock: Clock) -> AuditStep:
        """Build it for a configured node. Raises `SecretUnusable`."""
        trail = open_trail(config, clock)
        reader = Reader(journal.changes, places(config))
        return cls(trail, journal, config, clock, Listener(clock.wall), reader)

    def hear(self, name: str, fields: Mapping[str, Any]) -> None:
        """Take an event of the log, from any thread; none after the end."""
        if not self._is_closed:
            self.listener.hear(name, fields)

    def run_once(self) -> int:
        """Write what is new; returns the number of entries."""
        now = self.clock.monotonic()
        if now < self._due:
            return 0
        self._due = now + LOOK_S
        written = 0 if self._next else self._start()
        self._left = self._left or self.listener.waiting()
        entries, following = self._of_journal()
        if self._left or entries:
            self.trail.append((*self._left, *entries))
            self._left = ()
        self._next = following
        if now >= self._anchor_due:
            self._anchor()
        return written + len(entries)

    def close(self) -> None:
        """Write what is left, and that the service stops."""
        self._is_closed = True
        self._due = 0.0
        self.run_once()
        who = (self.reader.places.own,)
        self.trail.append((Entry(self.clock.wall(), _A.SERVICE_STOPPED, who),))
        self._anchor()

    # ---- the journal ----

    def _of_journal(self) -> tuple[list[Entry], dict[str, Source]]:
        """Return the entries of what is new in the journal, and what is to be read after them."""
        following = dict(self._next)
        first = self._next[EVENT]
        changes = self.journal.changes.since(first.row, MOST_AT_ONCE)
        entries = [e for e in self.reader.entries(changes) if not _is_written(e, first)]
        if changes:
            following[EVENT] = Source(EVENT, changes[-1].id + 1)
        for row in self.journal.promotions.all():
            if row.id >= following[PROMOTION].row:
                entries.append(promotion_entry(row))
                following[PROMOTION] = Source(PROMOTION, row.id + 1)
        return entries, following

    # ---- start and anchors ----

    def _start(self) -> int:
        """Write that the service started, and find out where the journal is to be read from."""
        head, newest = self.trail.head(), self.journal.changes.newest()
        replaced = {t: row for t, row in newest.items() if head.read.get(t, (0,))[0] > row}
        unknown = {t: row for t, row in newest.items() if t not in head.read}
        now, entries = self.clock.wall(), self._started(head, unknown)
        if replaced:
            what = {"read": replaced, "reason": "the journal is older than the audit trail"}
            entries.append(Entry(now, _A.JOURNAL_REPLACED, what=what, outcome="serious_failure"))
        head = self.trail.append(entries)
        self._next = {table: source_after(head, table) for table in newest}
        return len(entries)

    def _started(self, head: Head, read: dict[str, int]) -> list[Entry]:
        """Return the entries of a start. read: where a trail begins that has nothing of the journal."""
        digest = render.digest(self.config)
        who = (self.reader.places.own, Participant("user", user=account()))
        what: dict[str, object] = {"version": program_version(), "configuration": digest}
        if read:
            what["read"] = read
        now = self.clock.wall()
        entries = [Entry(now, _A.SERVICE_STARTED, who, what)]
        if head.configuration not in {"", digest}:
            change = {"before": head.configuration, "now": digest}
            entries.append(Entry(now, _A.CONFIGURATION_CHANGED, who, change))
        return entries

    def _anchor(self) -> None:
        """Note the end of the trail in the journal, so that both must be changed to hide a change of one."""
        head = self.trail.head()
        self.journal.changes.anchor(head.number, head.hash)
        self._anchor_due = self.clock.monotonic() + ANCHOR_S


def _is_written(entry: Entry, first: Source) -> bool:
    source = entry.source
    return source is not None and source.row == first.row and source.part < first.part


def command_entry(
    event: AuditEvent, user: str, what: dict[str, object], at: float
) -> Sequence[Entry]:
    """Return the entry of what a person did by a command."""
    return (Entry(at, event, (Participant("user", user=user),), what),)
