"""A state folder whose series are delivered, skipped or in any other state, with real files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from node.journal.journal import Journal
from node.journal.purge_rows import Purgeable
from node.journal.rows import NewInstance, ResultRow, SeriesKey
from node.journal.states import DeliveryEvent, InstanceState, SeriesEvent
from node.receive.identify import Received
from node.receive.keep import Keeper
from node.store.spool import Spool, file_meta
from tests.support.clock import Clock

SYNTAX = "1.2.840.10008.1.2.1"
E, V = SeriesEvent, DeliveryEvent


@dataclass
class Kept:
    """A node's spool and journal; each series has two objects of a thousand bytes."""

    state: Path
    journal: Journal
    clock: Clock
    spool: Spool

    def key(self, number: int) -> SeriesKey:
        return SeriesKey(f"1.1.{number}", f"1.2.{number}")

    def receive(self, number: int, objects: tuple[int, ...] = (1, 2), salt: str = "") -> SeriesKey:
        """Receive objects of a series, as an association does after they were surveyed."""
        key = self.key(number)
        for one in objects:
            incoming = self.spool.begin(file_meta("1.2", f"{key.series}.{one}", SYNTAX, "MR1"))
            incoming.write(f"{number}.{one}.{salt}".encode().ljust(1000))
            stored = self.spool.put(incoming, SYNTAX)
            self.journal.instances.add(self._facts(key, one, stored))
        return key

    @staticmethod
    def _facts(key: SeriesKey, one: int, stored: Any) -> NewInstance:
        return NewInstance(
            f"{key.series}.{one}", "1.2", *key, stored.digest, SYNTAX, stored.path, stored.bytes, "MR1"
        )  # fmt: skip

    def quarantine(self, number: int, salt: str = "") -> Path:
        """Quarantine one object of a series of its own."""
        key = self.key(number)
        incoming = self.spool.begin(file_meta("1.2", f"{key.series}.9", SYNTAX, "MR1"))
        incoming.write(f"{number}.bad.{salt}".encode().ljust(1000))
        stored = self.spool.quarantine(incoming, SYNTAX)
        self.journal.instances.quarantine(self._facts(key, 9, stored), "no pixels")
        return stored.path

    def skip(self, number: int) -> SeriesKey:
        key = self.receive(number)
        self.journal.series.advance(key, E.SETTLED_INELIGIBLE)
        self.journal.series.advance(key, E.RULES_REJECT, detail={"reason": "not an MR image"})
        return key

    def encode(self, number: int, *, again: bool = False, attempt: int = 0) -> SeriesKey:
        """Make a result for one destination, not yet delivered; again: of objects that are there."""
        key = self.key(number) if again else self.receive(number)
        self.journal.series.advance(key, E.GEOMETRY_COMPLETE)
        self.journal.series.advance(key, E.RULES_ACCEPT)
        assert self.journal.series.claim("t") is not None
        name = f"2.25.{number}{attempt}"
        folder = self.state / "results" / name
        folder.mkdir(exist_ok=True)
        (folder / "result.json").write_text(json.dumps({"objects": [], "files": []}))
        self.journal.results.publish(key, "t", ResultRow(name, folder, "m", attempt), ["pacs"])
        return key

    def deliver(self, number: int, event: V = V.PROOF_FOUND, **options: Any) -> SeriesKey:
        """Deliver the newest result of a series; event: how its storage was verified."""
        key = self.encode(number, **options)
        delivery = self.journal.deliveries.of_series(key)[-1]
        self.journal.deliveries.advance(delivery.id, V.PEER_ACCEPTED)
        self.journal.deliveries.record_outcomes(delivery.id, ["seg.dcm"], {})
        self.journal.deliveries.advance(delivery.id, event)
        return key

    def files(self) -> int:
        """Objects on disk."""
        return sum(
            1 for area in ("spool", "quarantine") for _ in (self.state / area).rglob("*.dcm")
        )

    def folders(self) -> list[str]:
        return sorted(p.name for p in (self.state / "results").iterdir())

    def purgeable(self, key: SeriesKey) -> Purgeable:
        found = self.journal.purges.candidate(self.journal.series.get(key).id)
        assert found is not None
        return found

    def states(self, key: SeriesKey) -> list[str]:
        rows = self.journal.database.query(
            "SELECT i.state FROM instance i JOIN series s ON s.id = i.series_id"
            " WHERE s.study = ? AND s.series = ? ORDER BY i.rowid",
            key,
        )
        return [InstanceState(r["state"]) for r in rows]


@pytest.fixture
def kept(tmp_path: Path, clock: Clock) -> Iterator[Kept]:
    state = tmp_path / "state"
    spool = Spool(state)
    state.chmod(0o700)
    journal = Journal.open(state / "journal.sqlite", clock)
    yield Kept(state, journal, clock, spool)
    journal.close()


def keep(keeper: Keeper, site: Kept, path: Path, uid: str, syntax: str = SYNTAX) -> str:
    """Receive the data set of a file through the keeper, which surveys and compares it."""
    from dicomseg.read import parsing

    raw = path.read_bytes()
    begin = parsing.split_file_meta(raw)[0]
    incoming = site.spool.begin(file_meta("1.2.840.10008.5.1.4.1.1.4", uid, syntax, "MR1"))
    incoming.write(raw[begin:])
    return keeper.keep(Received(incoming, "1.2.840.10008.5.1.4.1.1.4", uid, syntax, "MR1"))
