"""What a peer may take of the node: time, slots, unfinished bytes and lines of the log. No sockets here."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

PATIENCE_S: Final = 10.0
"""How far behind an association has to be before a new one may take its slot. A few seconds are the
pause between two slices; a minute would keep a scanner waiting for a sender that hangs."""
PATIENCE_AT_FIRST_S: Final = 2.0
"""The same for an association that has not completed one message yet."""
KNOWN_ADDRESSES: Final = 1024
"""Addresses remembered as known; a list without an end is memory that strangers could fill."""
LOG_WINDOW_S: Final = 60.0
LINES_PER_PEER: Final = 30
"""Refused connections of one address that get a line each within the window; the rest are counted, so
that a flood of garbage does not fill the disk with its log."""
LINES_OF_SILENCE: Final = 1
"""A monitoring system opens and closes the port for ever: one line a window, with the count."""


@dataclass(slots=True)
class Pace:
    """How far a sender is behind the slowest rate allowed.

    The same number ends silence and trickling: it grows with every second that the node waits for bytes,
    not with those in which it works, and falls with every byte. least_rate: bytes per second.
    """

    least_rate: float
    now: Callable[[], float] = time.monotonic
    _waited: float = 0.0
    _since: float | None = None
    _bytes: int = 0

    def restart(self) -> None:
        """Forget what was: a message begins, or its answer is out."""
        self._waited, self._since, self._bytes = 0.0, None, 0

    def waits(self) -> None:
        """Begin to wait for bytes."""
        self._since = self.now()

    def came(self, count: int) -> None:
        """Count bytes that were waited for."""
        if self._since is not None:
            self._waited += self.now() - self._since
        self._since, self._bytes = None, self._bytes + count

    def behind_s(self) -> float:
        """Return the seconds of waiting, less those that the bytes were worth; asked from any thread."""
        since = self._since
        waiting = 0.0 if since is None else self.now() - since
        return self._waited + waiting - self._bytes / self.least_rate


class Guest(Protocol):
    """Who holds a slot. messages: how many it has completed."""

    address: str
    messages: int

    def behind_s(self) -> float:
        """Return the seconds behind the slowest rate."""
        ...

    def gone(self) -> bool:
        """Return whether the peer has closed the connection, even if its thread has not seen it yet."""
        ...

    def end(self, reason: str) -> None:
        """End it; returns at once."""
        ...


def _patience_s(guest: Guest) -> float:
    return PATIENCE_S if guest.messages else PATIENCE_AT_FIRST_S


@dataclass(slots=True)
class Slots:
    """Associations at one time: in all, from one address, and those kept free for known peers."""

    most: int
    most_per_peer: int
    reserved: int
    _guests: list[Guest] = field(default_factory=list)
    _known: dict[str, None] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, guest: Guest, *, known: bool) -> str:
        """Give a slot; returns "", or the reason for none. A full house loses its slowest guest first."""
        with self._lock:
            known = known or guest.address in self._known
            if self._lack(guest.address, known):
                self._guests = [g for g in self._guests if not g.gone()]
            while reason := self._lack(guest.address, known):
                slow = self._slowest(guest.address if "address" in reason else None)
                if slow is None:
                    return reason
                self._guests.remove(slow)
                slow.end(f"{slow.behind_s():.0f} s behind while another sender waited for a slot")
            self._guests.append(guest)
            return ""

    def _lack(self, address: str, known: bool) -> str:
        if sum(g.address == address for g in self._guests) >= self.most_per_peer:
            return f"{self.most_per_peer} associations from this address, [receive] max_associations_per_peer"
        if len(self._guests) >= self.most:
            return f"{self.most} associations at one time, [receive] max_associations"
        reserved = min(self.reserved, self.most - 1)
        if not known and len(self._guests) >= self.most - reserved:
            return f"the last {reserved} slots are kept for known peers, [receive] reserved_associations"
        return ""

    def _slowest(self, address: str | None) -> Guest | None:
        candidates = [g for g in self._guests if address in {None, g.address}]
        slow = [g for g in candidates if g.behind_s() > _patience_s(g)]
        return max(slow, key=lambda g: g.behind_s(), default=None)

    def free(self, guest: Guest) -> None:
        """Take a slot back; a guest that holds none is no error."""
        with self._lock:
            if guest in self._guests:
                self._guests.remove(guest)

    def stored(self, address: str) -> None:
        """Remember an address as known: an object of it was stored."""
        if address in self._known:
            return
        with self._lock:
            self._known[address] = None
            if len(self._known) > KNOWN_ADDRESSES:
                del self._known[next(iter(self._known))]


@dataclass(slots=True)
class Strangers:
    """Connections that have not asked for an association: few per address, not many in all."""

    most: int
    most_per_peer: int
    _waiting: list[Guest] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def come(self, guest: Guest) -> None:
        """Let a connection wait for its request; of too many the oldest is ended, those gone do not count."""
        with self._lock:
            self._waiting.append(guest)
            if self._crowd(guest.address):
                self._waiting = [g for g in self._waiting if g is guest or not g.gone()]
            crowd = self._crowd(guest.address)
            if crowd:
                self._waiting.remove(crowd[0])
                crowd[0].end(
                    "too many connections without an association request; the oldest is closed"
                )

    def _crowd(self, address: str) -> list[Guest]:
        """Connections of the address that has too many, oldest first; empty when none has."""
        same = [g for g in self._waiting if g.address == address]
        if len(same) > self.most_per_peer:
            return same
        if len(self._waiting) <= self.most:
            return []
        largest = Counter(g.address for g in self._waiting).most_common(1)[0][0]
        return [g for g in self._waiting if g.address == largest]

    def go(self, guest: Guest) -> None:
        """Forget a connection: it has asked, or is gone."""
        with self._lock:
            if guest in self._waiting:
                self._waiting.remove(guest)


@dataclass(slots=True)
class Unfinished:
    """Bytes of all objects that have begun and not ended, and the most that there may be."""

    most: int
    total: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, count: int) -> bool:
        """Count bytes on their way; False, and nothing counted, when there would be too many."""
        with self._lock:
            if self.total + count > self.most:
                return False
            self.total += count
            return True

    def release_claim(self, count: int) -> None:
        """Forget bytes whose object is kept or gone."""
        with self._lock:
            self.total -= count


@dataclass(slots=True)
class _Window:
    """Lines about one address since then, and those left out since the last one."""

    began: float
    written: int = 0
    left_out: int = 0


@dataclass(slots=True)
class Lines:
    """Lines of the log about refused connections, by address."""

    _windows: dict[tuple[str, bool], _Window] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def take(self, address: str, *, silence: bool) -> int | None:
        """Return the number of lines left out since the last one, or None when this one is left out too.

        silence: the connection sent no byte.
        """
        now, most = time.monotonic(), LINES_OF_SILENCE if silence else LINES_PER_PEER
        with self._lock:
            window = self._windows.setdefault((address, silence), _Window(now))
            if now - window.began > LOG_WINDOW_S:
                window.began, window.written = now, 0
            if window.written >= most:
                window.left_out += 1
                return None
            if len(self._windows) > KNOWN_ADDRESSES:
                del self._windows[next(iter(self._windows))]
            left_out, window.left_out = window.left_out, 0
            window.written += 1
            return left_out
