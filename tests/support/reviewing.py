"""The step that judges segmentations over a state folder; what the process that reads them answers is given."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from node.events import Event
from node.journal.rows import NewInstance, SeriesKey
from node.journal.states import SeriesEvent
from node.review.step import LOOK_S, ReviewStep
from node.store.spool import file_meta
from tests.support.purging import SYNTAX, Kept

SEG = "1.2.840.10008.5.1.4.1.1.66.4"
VALUES = {"OC": {"before_mm": 9.8, "before_refusal": None, "after_mm": None, "after_refusal": "missing"}}  # fmt: skip
ACCEPTED = {
    "accepted": {"values": VALUES, "unchanged": ["n4"]},
    "kept": [],
    "creator": "Reader^Rita",
}


@dataclass
class Review:
    """The step over a state folder. says: what the reading process answers to the question about voxels."""

    kept: Kept
    says: Any = field(default_factory=lambda: ACCEPTED)
    names: tuple[str, ...] = ()
    asked: list[Any] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    digests: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.step = ReviewStep(
            self.kept.journal, self.kept.state, self.kept.clock, self.events.append, self._ask
        )

    def _ask(self, question: Any) -> Any:
        self.asked.append(question)
        if question[0] == "references":
            return {"references": {"series": list(self.names), "images": []}}
        if isinstance(self.says, Exception):
            raise self.says
        return self.says

    def send(self, number: int, *, of: SeriesKey | None = None) -> SeriesKey:
        """Receive a segmentation as a series of its own, which is skipped."""
        if of is not None:
            self.names = (of.series,)
        key = SeriesKey("1.1.1", f"1.9.{number}")
        uid = f"{key.series}.1"
        incoming = self.kept.spool.begin(file_meta(SEG, uid, SYNTAX, "VIEWER"))
        incoming.write(f"seg {number}".encode().ljust(1000))
        stored = self.kept.spool.put(incoming, SYNTAX)
        self.digests.append(stored.digest)
        journal = self.kept.journal
        journal.instances.add(
            NewInstance(uid, SEG, *key, stored.digest, SYNTAX, stored.path, stored.bytes, "VIEWER")
        )
        journal.series.advance(key, SeriesEvent.SETTLED_INELIGIBLE)
        journal.series.advance(key, SeriesEvent.RULES_REJECT, detail={"reason": "not an MR image"})
        return key

    def run(self) -> int:
        self.kept.clock.pass_s(LOOK_S)
        return self.step.run_once()

    def rows(self) -> list[tuple[str, str]]:
        return [(r.state, r.code) for r in self.kept.journal.corrections.all()]

    def folders(self, name: str) -> list[Path]:
        folder = self.kept.state / "corrections" / name
        return sorted(folder.iterdir()) if folder.is_dir() else []


@pytest.fixture
def review(kept: Kept) -> Review:
    return Review(kept)
