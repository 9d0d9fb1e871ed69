"""Send the trail to a collector as DICOM audit messages, from where it was left, in a thread of its own.

A file beside the trail says how far it was sent; a collector that is away delays its messages and nothing else.
A kill between sending and noting sends again.
"""

from __future__ import annotations

import json
import os
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field, replace
from typing import Final

from node.audit.collector import Collector, Header, syslog_message
from node.audit.message import Reporter, audit_message
from node.audit.trail import Found, Head, Trail, last_line
from node.clock import Clock
from node.config.audit import collector
from node.config.sections import Config
from node.durable import replace_durably

MOST_AT_ONCE: Final = 100
LOOK_S: Final = 1.0
_FILE: Final = "syslog.json"


@dataclass(slots=True)
class ForwardStep:
    """Sends what is new. target: the configured address, so that another one begins at the trail's end."""

    trail: Trail
    target: str
    to: Collector
    by: Reporter
    clock: Clock
    _at: Head | None = None
    _due: float = 0.0
    _header: Header = field(init=False)

    def __post_init__(self) -> None:
        self._header = Header(socket.gethostname(), self.by.name, self.by.process)

    def run_once(self) -> int:
        """Send entries; returns how many lines were passed.

        Raises:
            OSError: the collector cannot be reached; the next call tries again from the same line.
        """
        now = self.clock.monotonic()
        if now < self._due:
            return 0
        self._due = now + LOOK_S
        at = self._at or self.begin()
        found = self._next(at)
        if not found:
            return 0
        messages = [m for f in found if (m := self._message(f)) is not None]
        if messages:
            self.to.send(messages)
        last = found[-1]
        number = last.line.number if last.line is not None else at.number
        self._note(Head(number, segment=last.path.name, size=last.end))
        self._due = 0.0 if len(found) == MOST_AT_ONCE else self._due
        return len(found)

    def close(self) -> None:
        """Send what is left, if the collector answers, and end the connection."""
        self._due = 0.0
        try:
            self.run_once()
        finally:
            self.to.close()

    def _next(self, at: Head) -> Sequence[Found]:
        path = self.trail.folder / at.segment
        last = last_line(path, at.size) if at.size and path.is_file() else None
        if at.size and (last is None or last.number != at.number):
            at = replace(at, size=0)  # the file was cut: what is new begins at another byte
        found: list[Found] = []
        for line in self.trail.lines(at):
            if line.is_part or len(found) == MOST_AT_ONCE:
                break
            if line.line is None or line.line.number > at.number:
                found.append(line)
        return found

    def _message(self, found: Found) -> bytes | None:
        line = found.line
        if line is None:
            return None
        content = audit_message(line.content, f"{line.number} {line.hash}", self.by)
        if content is None:
            return None
        time, outcome = str(line.content.get("time")), str(line.content.get("outcome"))
        return syslog_message(self._header, time, outcome, line.number, content)

    # ---- how far ----

    def begin(self) -> Head:
        """Return how far was sent; to a new collector nothing of the past is sent."""
        try:
            noted = json.loads((self.trail.folder / _FILE).read_bytes())
            if noted["target"] == self.target:
                self._at = Head(int(noted["number"]), segment=str(noted["segment"]), size=int(noted["size"]))  # fmt: skip
                return self._at
        except (OSError, ValueError, KeyError, TypeError):
            pass
        head = self.trail.head()
        self._note(Head(head.number, segment=head.segment, size=head.size))
        return head

    def _note(self, at: Head) -> None:
        self._at = at
        noted = {k: v for k, v in asdict(at).items() if k in {"number", "segment", "size"}}
        content = json.dumps({"target": self.target, **noted})
        replace_durably(self.trail.folder / _FILE, content.encode("ascii"))


def forward_step(
    config: Config, trail: Trail, clock: Clock, tls: Callable[[], ssl.SSLContext]
) -> ForwardStep | None:
    """Return the step of a configured collector, None without one. tls: context of a new connection."""
    target = collector(config.audit.syslog)
    if target is None:
        return None
    protocol, host, port = target
    by = Reporter(config.node.name, config.node.ae_title, os.getpid())
    to = Collector(protocol, host, port, tls if protocol == "tls" else None)
    step = ForwardStep(trail, config.audit.syslog, to, by, clock)
    with suppress(OSError):  # the disk may take it later
        step.begin()
    return step
