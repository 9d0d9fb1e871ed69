"""One cheap question to a destination that did not respond, while anything waits for it; its answer wakes all.

Deliveries have waits of their own, up to a quarter of an hour, which a destination that is back need not wait for.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from node.backoff import wait_s
from node.deliver.port import Destination
from node.journal.journal import Journal

FIRST_PROBE_S: Final = 5.0
LONGEST_PROBE_S: Final = 60.0
"""Times between two probes; the longest holds for as long as the destination is away, hours or days."""
LONGEST_MISTRUST_S: Final = 900.0
"""The same after probes that were answered without a delivery getting through."""


@dataclass(slots=True)
class Waker:
    """Probes one destination. monotonic: seconds; a wall clock that is set does not matter. spread: 0…1.

    What waits is read in the journal, so that a restart continues.
    """

    journal: Journal
    destination: Destination
    monotonic: Callable[[], float]
    spread: Callable[[], float]
    _due_at: float = 0.0
    _unanswered: int = 0
    _in_vain: int = 0

    def run_once(self) -> int:
        """Probe if it is time and something waits; returns how many deliveries were woken."""
        now = self.monotonic()
        if now < self._due_at:
            return 0
        if not self.journal.deliveries.unreachable(self.destination.name):
            self._due_at, self._unanswered = now + FIRST_PROBE_S, 0
            return 0
        if not self.destination.probe():
            self._unanswered += 1
            self._wait(self._unanswered, LONGEST_PROBE_S)
            return 0
        # Answers that no delivery follows are worth less each time.
        self._unanswered, self._in_vain = 0, self._in_vain + 1
        self._wait(self._in_vain, LONGEST_MISTRUST_S)
        return self.journal.deliveries.wake(self.destination.name)

    def got_through(self) -> None:
        """Take note that the destination took something, or answered for it."""
        self._in_vain = 0

    def _wait(self, times: int, longest_s: float) -> None:
        # From now, not from before the probe: one that timed out took its time.
        self._due_at = self.monotonic() + wait_s(times, FIRST_PROBE_S, longest_s, self.spread())
