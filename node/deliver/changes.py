"""What happens to deliveries: one event in the log for each change, and one place that counts them.

A flood of changes (a thousand results after a night without the PACS) does not fill the log: beyond a number a minute
they are counted, and the count is written once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Literal

from node.events import DeliveryChangesCounted, Event, Log

Change = Literal["created", "sent", "confirmed", "waiting", "failed", "superseded", "woken"]
MOST_LINES: Final = 60
"""Events of one destination within the window that are written one by one."""
WINDOW_S: Final = 60.0


@dataclass(slots=True)
class Changes:
    """Changes of the deliveries to one destination. counts: of each change since the start of the process."""

    destination: str
    log: Log
    monotonic: Callable[[], float]
    counts: Counter[Change] = field(default_factory=Counter)
    _began: float = 0.0
    _written: int = 0
    _left_out: Counter[Change] = field(default_factory=Counter)

    def __call__(self, change: Change, event: Event) -> None:
        """Count a change, and log its event unless there were too many within the minute."""
        self.counts[change] += 1
        self.flush()
        if self._written < MOST_LINES:
            self._written += 1
            self.log(event)
        else:
            self._left_out[change] += 1

    def flush(self) -> None:
        """Begin another window when the last one is over, and write what was left out of that."""
        now = self.monotonic()
        if now - self._began < WINDOW_S:
            return
        self._began, self._written = now, 0
        if self._left_out:
            counts = {str(change): count for change, count in self._left_out.items()}
            self.log(DeliveryChangesCounted(self.destination, counts))
            self._left_out = Counter()
