"""Storage commitment that the node asks of archives: reports in every manner, kills, and lies (PS3.4 annex J)."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import SegmentationStorage

from node.config.destinations import DicomDestination
from node.deliver.dicom import Pacs
from node.deliver.prove import AUTO_REQUESTS, FIRST_REPORT_S
from node.deliver.step import DeliverStep
from node.events import DeliveryConfirmed, Event
from node.journal.commitments import CommitmentState
from node.journal.journal import Journal
from node.journal.rows import DeliveryRow
from node.journal.states import DeliveryState
from node.receive.commitment import Archive as Known
from node.store.layout import StateDirectory
from tests.support.commitment import Archive, serving
from tests.support.deliveries import only_delivery, publish_result
from tests.support.mr_series import KEY

pytestmark = [pytest.mark.servers]

FILES = ("seg.dcm", "volumes.dcm")
ONE, TWO = "2.25.2.0", "2.25.2.1"
"""SOP Instance UIDs of the files of result r1."""
KNOWN = Known("pacs", "ARCHIVE", "127.0.0.1")


class Site:
    """A result on its way to an archive, and the node's own acceptor on the same journal."""

    def __init__(self, node: Any, root: Path, clock: Any) -> None:
        self.node, self.root, self.clock = node, root, clock
        self.events: list[Event] = []
        self.journal: Journal = node.journal
        self.journal.database.now = clock.wall
        publish_result(self.journal, root, files=FILES)

    def step(self, port: int, proof: str = "commitment", **keys: Any) -> DeliverStep:
        config = DicomDestination(
            name="pacs", kind="dicom", ae_title="ARCHIVE", host="127.0.0.1", port=port,
            objects=FILES, proof=proof, timeout_seconds=5.0, **keys,
        )  # fmt: skip
        return DeliverStep(
            self.journal, config, Pacs.of(config, "NODE"), self.clock, lambda: 0.0,
            StateDirectory(self.root), self.events.append,
        )  # fmt: skip

    def row(self) -> DeliveryRow:
        return only_delivery(self.journal)


class _Clock:
    """The wall's clock with a distance that a test may add."""

    def __init__(self) -> None:
        self.ahead_s = 0.0

    def wall(self) -> float:
        return time.time() + self.ahead_s

    def monotonic(self) -> float:
        return time.monotonic() + self.ahead_s


@pytest.fixture
def site(listen: Any, tmp_path: Path) -> Site:
    return Site(listen(archives=[KNOWN]), tmp_path, _Clock())


def _until(true: Callable[[], bool], limit_s: float = 60.0) -> None:
    ends_at = time.monotonic() + limit_s
    while not true():
        assert time.monotonic() < ends_at, "it did not happen in time"
        time.sleep(0.05)


@contextmanager
def _archive(site: Site, **how: Any) -> Iterator[tuple[Archive, int]]:
    archive = Archive(report_to=site.node.port, **how)
    with serving(archive, (SegmentationStorage,)) as port:
        yield archive, port


def test_report_on_the_same_association_confirms(site: Site) -> None:
    with _archive(site, manner="same") as (archive, port):
        site.step(port).run_once()
    row = site.row()
    assert (row.state, row.proof) == (DeliveryState.CONFIRMED, "committed")
    assert row.detail == "storage commitment: pacs committed 2 objects"
    assert {r.sop_instance for r in archive.asked[0].references} == {ONE, TWO}
    (event,) = [e for e in site.events if isinstance(e, DeliveryConfirmed)]
    assert event.proof == "committed"


def test_report_over_an_association_of_the_archive_confirms(site: Site) -> None:
    with _archive(site, manner="new") as (archive, port):
        step = site.step(port)
        step.run_once()
        _until(lambda: step.run_once() >= 0 and site.row().state is DeliveryState.CONFIRMED)
    assert site.row().proof == "committed"
    assert archive.taken == [0]
    (event,) = site.node.events("CommitmentReported")
    assert (event["destination"], event["committed"], event["failed"]) == ("pacs", 2, 0)


def test_killed_between_request_and_report_the_next_start_takes_the_report(
    site: Site, listen: Any
) -> None:
    with _archive(site, manner="never") as (archive, port):
        site.step(port).run_once()
        assert site.row().state is DeliveryState.SENT
        assert "its report is awaited" in site.row().detail
        site.node.receiver.stop(0.1)
        site.node = listen(archives=[KNOWN])  # the same state folder
        site.journal = site.node.journal
        step = site.step(port)
        step.run_once()
        assert len(archive.asked) == 1  # it is awaited, not asked again
        archive.report_to = site.node.port
        archive.manner = "new"
        assert archive.report_now(archive.asked[0]) == 0
        assert step.run_once() == 1
        assert archive.report_now(archive.asked[0]) == 0  # a report that comes twice is no fault
    assert (site.row().state, site.row().proof) == (DeliveryState.CONFIRMED, "committed")
    assert len(archive.stored) == 2


def test_without_a_report_it_is_asked_again_and_a_late_report_counts(site: Site) -> None:
    with _archive(site, manner="never") as (archive, port):
        step = site.step(port)
        step.run_once()
        site.clock.ahead_s = FIRST_REPORT_S + 1
        step.run_once()
        assert len(archive.asked) == 2
        assert archive.report_now(archive.asked[0]) == 0
        step.run_once()
    assert (site.row().state, site.row().proof) == (DeliveryState.CONFIRMED, "committed")
    assert len(archive.stored) == 2


def test_patience_without_any_report_ends_with_what_to_check(site: Site) -> None:
    with _archive(site, manner="never") as (archive, port):
        step = site.step(port, patience_days=0.01)
        for _ in range(5):
            step.run_once()
            site.clock.ahead_s += 15_000
    row = site.row()
    assert row.state is DeliveryState.DEAD
    assert "no report on storage commitment came within" in row.detail
    assert "knows this node's address" in row.detail
    assert len(archive.asked) < 5


def test_object_that_is_not_kept_is_sent_again_and_only_that(site: Site) -> None:
    with _archive(site, manner="same", lose={TWO}) as (archive, port):
        step = site.step(port)
        step.run_once()
        assert site.row().state is DeliveryState.WAITING
        assert "not kept: volumes.dcm" in site.row().detail
        site.clock.ahead_s += 10
        step.run_once()
    assert archive.stored == [ONE, TWO, TWO]
    assert (site.row().state, site.row().proof) == (DeliveryState.CONFIRMED, "committed")


def test_failure_that_stays_is_dead_with_the_reason_and_names_the_object(site: Site) -> None:
    with _archive(site, manner="same", fail={TWO: 0x0122}) as (_, port):
        site.step(port).run_once()
    row = site.row()
    assert row.state is DeliveryState.DEAD
    assert row.refused == {"volumes.dcm": "storage commitment: 0x0122, referenced SOP class not supported"}  # fmt: skip
    assert row.accepted == ("seg.dcm",)


def test_failure_that_passes_is_asked_again_and_nothing_is_sent_again(site: Site) -> None:
    with _archive(site, manner="same", fail={TWO: 0x0213}) as (archive, port):
        step = site.step(port)
        step.run_once()
        assert site.row().state is DeliveryState.SENT
        assert "0x0213, resource limitation" in site.row().fault
        archive.fail = {}
        site.clock.ahead_s += 10
        step.run_once()
    assert (site.row().state, len(archive.stored)) == (DeliveryState.CONFIRMED, 2)


def test_report_that_leaves_an_object_out_proves_nothing(site: Site) -> None:
    with _archive(site, manner="same", unlisted={TWO}) as (archive, port):
        step = site.step(port)
        step.run_once()
        assert site.row().state is DeliveryState.SENT
        assert "does not list volumes.dcm" in site.row().fault
        archive.unlisted = set()
        site.clock.ahead_s += 10
        step.run_once()
    assert (site.row().state, len(archive.stored)) == (DeliveryState.CONFIRMED, 2)


@pytest.mark.parametrize("over", ["same", "new"])
def test_report_under_another_transaction_uid_proves_nothing(site: Site, over: str) -> None:
    with _archive(site, manner="wrong") as (archive, port):
        archive.report_to = site.node.port if over == "new" else 0
        site.step(port).run_once()
        _until(lambda: bool(archive.taken))
    assert archive.taken == [0x0115]
    assert site.row().state is DeliveryState.SENT
    (asked,) = site.journal.commitments.of_delivery(site.row().id)
    assert asked.state is CommitmentState.ASKED


def test_report_of_another_peer_than_the_one_that_was_asked_is_refused(site: Site) -> None:
    with _archive(site, manner="never") as (archive, port):
        site.step(port).run_once()
        archive.calling = "INTRUDER"
        assert archive.report_now(archive.asked[0]) == 0x0124
    assert site.row().state is DeliveryState.SENT
    (refused,) = site.node.wait_for("CommitmentRefused")
    assert refused["calling_ae"] == "INTRUDER"


def test_report_from_another_address_is_refused(listen: Any, tmp_path: Path) -> None:
    node = listen(archives=[Known("pacs", "ARCHIVE", "192.0.2.7")])
    site = Site(node, tmp_path, _Clock())
    with _archive(site, manner="never") as (archive, port):
        site.step(port).run_once()
        assert archive.report_now(archive.asked[0]) == 0x0124
    (refused,) = node.wait_for("CommitmentRefused")
    assert "list it as a [[receive.caller]]" in refused["reason"]
    assert site.row().state is DeliveryState.SENT


def test_refused_request_is_asked_again(site: Site) -> None:
    with _archive(site, manner="refuse") as (archive, port):
        step = site.step(port)
        step.run_once()
        assert "refuses the request for storage commitment with 0x0213" in site.row().fault
        archive.manner = "same"
        site.clock.ahead_s += 10
        step.run_once()
    assert site.row().state is DeliveryState.CONFIRMED


def test_auto_takes_commitment_where_there_is_no_query(site: Site) -> None:
    with _archive(site, manner="same") as (archive, port):
        site.step(port, "auto").run_once()
    assert (site.row().state, site.row().proof) == (DeliveryState.CONFIRMED, "committed")
    assert len(archive.asked) == 1


def test_auto_ends_unproven_where_no_report_ever_comes(site: Site) -> None:
    with _archive(site, manner="never") as (archive, port):
        step = site.step(port, "auto")
        for _ in range(AUTO_REQUESTS + 1):
            step.run_once()
            site.clock.ahead_s += 15_000
    row = site.row()
    assert (row.state, row.proof) == (DeliveryState.CONFIRMED, "unproven")
    assert "3 requests for storage commitment brought no report" in row.detail
    assert len(archive.asked) == AUTO_REQUESTS


def test_auto_is_unproven_at_once_where_the_archive_offers_neither(site: Site) -> None:
    with _archive(site, manner="refuse", refusal=0x0122) as (_, port):
        site.step(port, "auto").run_once()
    assert (site.row().state, site.row().proof) == (DeliveryState.CONFIRMED, "unproven")


def test_none_asks_nothing(site: Site) -> None:
    with _archive(site, manner="same") as (archive, port):
        site.step(port, "none").run_once()
    assert (site.row().state, site.row().proof) == (DeliveryState.CONFIRMED, "unproven")
    assert archive.asked == []


def test_retry_forgets_what_was_asked_of_what_was_sent_before(site: Site) -> None:
    with _archive(site, manner="same", fail={TWO: 0x0122}) as (archive, port):
        step = site.step(port)
        step.run_once()
        archive.fail = {}
        site.journal.retry_deliveries("pacs")
        step.run_once()
    assert (site.row().state, site.row().refused) == (DeliveryState.CONFIRMED, {})
    assert archive.stored == [ONE, TWO, ONE, TWO]
    assert site.journal.series.get(KEY).state == "delivered"
