"""Counts of what the log's events say; they begin at zero with the process.

What the journal records is not counted here but read there (`node.journal.figures`).
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Mapping
from typing import Any, Final

from node import events
from node.metrics import catalogue
from node.metrics.exposition import Metric

OTHER: Final = "other"
"""Label of everything beyond the names that are kept apart."""
MAX_NAMES: Final = 50
"""Names of one label that are kept apart: any peer may call itself what it likes."""

_EVENTS: Final = frozenset(
    name
    for name, value in vars(events).items()
    if isinstance(value, type) and issubclass(value, events.Event)
)
_PURGES: Final = {"SeriesPurged": "series", "QuarantinePurged": "quarantine"}


class Names:
    """The first `MAX_NAMES` names by themselves, all later ones as "other"."""

    def __init__(self, limit: int = MAX_NAMES) -> None:
        self._limit, self._known = limit, set[str]()

    def __call__(self, name: str) -> str:
        """Return the label for a name."""
        if name not in self._known:
            if len(self._known) >= self._limit:
                return OTHER
            self._known.add(name)
        return name


class Tally:
    """Counters by metric and labels; `hear` takes events from any thread."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[Metric, Counter[tuple[str, ...]]] = defaultdict(Counter)
        self._names: dict[tuple[Metric, int], Names] = defaultdict(Names)

    def hear(self, event: str, fields: Mapping[str, Any]) -> None:
        """Count one event of the log."""
        self.add(catalogue.EVENTS, event if event in _EVENTS else OTHER)
        if event == "AssociationEnded":
            self.add(catalogue.ASSOCIATIONS, str(fields["outcome"]))
            if fields["same"]:
                self.add(catalogue.OBJECTS_RECEIVED, str(fields["calling_ae"]), "same", by=fields["same"])  # fmt: skip
        elif event == "AssociationRefused":
            self.add(catalogue.ASSOCIATIONS, "rejected")
        elif event == "ObjectRefused":
            self.add(catalogue.OBJECTS_RECEIVED, str(fields["calling_ae"]), "refused")
        elif event == "PullEnded" and fields["pulled"]:
            self.add(catalogue.PULLED, str(fields["source"]), by=fields["pulled"])
        elif event in {"StepFailed", "RowFailed"}:
            self.add(catalogue.STEP_FAULTS, str(fields["step"]))
        elif event in _PURGES:
            self.add(catalogue.PURGED_OBJECTS, _PURGES[event], by=fields["objects"])
            self.add(catalogue.PURGED_BYTES, _PURGES[event], by=fields["bytes"])
        elif event == "WorkerEnded":
            self.add(catalogue.WORKER_ENDS, str(fields["worker"]))

    def add(self, metric: Metric, *labels: str, by: float = 1) -> None:
        """Count up; a label with too many values becomes "other"."""
        with self._lock:
            bounded = tuple(self._names[metric, n](label) for n, label in enumerate(labels))
            self._counts[metric][bounded] += by  # type: ignore[assignment]

    def values(self, metric: Metric) -> dict[tuple[str, ...], float]:
        """Return the counts of one metric by its labels."""
        with self._lock:
            return dict(self._counts[metric])
