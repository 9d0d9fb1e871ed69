"""What the journal and the log hold becomes entries: each once, also across kills."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from node.audit.entry import AuditEvent
from node.audit.from_journal import AUDITED
from node.audit.from_log import Listener
from node.audit.message import Reporter, audit_message
from node.audit.step import AuditStep
from node.audit.trail import Trail
from node.audit.verify import verify
from node.config.file import default_config
from node.config.sections import Config
from node.deliver.memory import InMemory
from node.deliver.port import Outcome
from node.events import (
    AssociationEnded,
    AssociationRefused,
    CertificatesRenewed,
    Event,
    NodeReady,
    ObjectRefused,
)
from node.journal.job_rows import Promotion
from node.journal.journal import Journal
from node.journal.rows import NewInstance
from node.journal.states import DeliveryEvent, SeriesEvent
from tests.support.audit_messages import check_contents, parse
from tests.support.clock import Clock
from tests.support.deliveries import deliver_step, publish_result
from tests.support.mr_series import KEY


@pytest.fixture
def config(tmp_path: Path) -> Config:
    return default_config(tmp_path)


@pytest.fixture
def journal(config: Config, clock: Clock) -> Iterator[Journal]:
    opened = Journal.open(config.node.state / "journal.sqlite", clock)
    yield opened
    opened.close()


def _step(config: Config, journal: Journal, clock: Clock) -> AuditStep:
    return AuditStep.of(config, journal, clock)  # type: ignore[arg-type]


def _run(step: AuditStep, clock: Clock) -> None:
    step.run_once()
    clock.pass_s(1.1)


def _lines(config: Config) -> list[dict[str, Any]]:
    trail = Trail(config.node.state / "audit", b"", lambda: 0.0)
    assert verify(trail, {}).findings == []
    return [dict(f.line.content) for f in trail.lines() if f.line is not None]


def _events(config: Config) -> list[str]:
    return [line["event"] for line in _lines(config)]


def _instance(number: int, sender: str = "MR1", **changes: Any) -> NewInstance:
    new = NewInstance(
        f"1.2.3.{number}", "1.2.840.10008.5.1.4.1.1.4", *KEY, f"d{number}", "1.2.840", Path("x"), 1, sender
    )  # fmt: skip
    return replace(new, **changes)


def test_a_series_is_one_entry_per_sender_not_one_per_object(
    config: Config, journal: Journal, clock: Clock
) -> None:
    step = _step(config, journal, clock)
    _run(step, clock)
    for number in range(5):
        journal.instances.add(_instance(number, "MR1" if number < 3 else "PACS"))
    _run(step, clock)
    assert _events(config) == ["service_started"]
    journal.series.advance(KEY, SeriesEvent.GEOMETRY_COMPLETE)
    _run(step, clock)
    _run(step, clock)
    received = _lines(config)[1:]
    assert [line["event"] for line in received] == ["series_received"] * 2
    assert [line["who"][0]["ae_title"] for line in received] == ["MR1", "PACS"]
    assert [line["what"]["objects"] for line in received] == [3, 2]
    assert received[0]["what"]["study"] == KEY.study
    assert received[0]["what"]["sop_classes"] == {"1.2.840.10008.5.1.4.1.1.4": 3}
    assert received[0]["who"][1] == {"role": "destination", "ae_title": "LUMBARNODE"}


def test_delivery_failure_retry_and_arrival_are_audited(
    config: Config, journal: Journal, clock: Clock, tmp_path: Path
) -> None:
    step = _step(config, journal, clock)
    _run(step, clock)
    publish_result(journal, tmp_path)
    refused = Outcome("", "permanent", "refused", "0xC000")
    deliver_step(journal, clock, InMemory("pacs", script=[refused])).run_once()
    journal.request_retry(KEY.series, by="alice")
    deliver_step(journal, clock, InMemory("pacs")).run_once()
    _run(step, clock)
    lines = _lines(config)[1:]
    assert [line["event"] for line in lines] == [
        "series_received",
        "result_created",
        "delivery_started",
        "delivery_failed",
        "retry_requested",
        "result_sent",
        "storage_verified",
    ]
    assert lines[3]["outcome"] == "serious_failure"
    assert lines[4]["who"] == [
        {"role": "user", "user": "alice"},
        {"role": "destination", "name": "pacs"},
    ]
    assert lines[5]["what"]["result"] == "r1"
    assert lines[5]["what"]["objects"] == 1


def test_a_kill_at_any_point_loses_and_doubles_nothing(
    config: Config, journal: Journal, clock: Clock, tmp_path: Path
) -> None:
    whole = _step(config, journal, clock)
    _run(whole, clock)
    for number in range(4):
        journal.instances.add(_instance(number, f"MR{number}"))
    journal.series.advance(KEY, SeriesEvent.GEOMETRY_COMPLETE)
    journal.series.advance(KEY, SeriesEvent.RULES_ACCEPT)
    _run(whole, clock)
    folder = config.node.state / "audit"
    (file,) = Trail(folder, b"", clock).segments()
    raw, head = file.read_bytes(), (folder / "head.json").read_bytes()
    start = raw.index(b"\n") + 1
    expected = [line["who"][0]["ae_title"] for line in _lines(config)[1:]]
    assert expected == ["MR0", "MR1", "MR2", "MR3"]
    before = {"number": 0, "hash": "0" * 64, "segment": "", "size": 0, "read": {}, "configuration": ""}  # fmt: skip
    for cut in [start, *range(start, len(raw), 97), len(raw)]:
        file.write_bytes(raw[:cut])
        (folder / "head.json").write_text(json.dumps(before))
        again = _step(config, journal, clock)
        _run(again, clock)
        _run(again, clock)
        received = [x for x in _lines(config) if x["event"] == "series_received"]
        assert [x["who"][0]["ae_title"] for x in received] == expected, cut
    file.write_bytes(raw)
    (folder / "head.json").write_bytes(head)


def test_objects_of_one_matter_are_one_entry(
    config: Config, journal: Journal, clock: Clock
) -> None:
    step = _step(config, journal, clock)
    _run(step, clock)
    for number in range(20):
        journal.instances.quarantine(_instance(number), "no pixel data")
    hostile = _instance(99, sop_instance_uid="Doe^Jane\n1.2", digest="h")
    journal.instances.quarantine(hostile, "not a UID")
    _run(step, clock)
    (one,) = _lines(config)[1:]
    assert one["event"] == "object_quarantined"
    assert one["what"]["objects"] == 21
    assert "Doe" not in json.dumps(one)
    assert one["who"] == [
        {"role": "source", "ae_title": "MR1"},
        {"role": "destination", "ae_title": "LUMBARNODE"},
    ]
    message = audit_message(one, "2 abc", Reporter("n", "LUMBARNODE", 7))
    assert message is not None
    check_contents(parse(message))


def test_a_trail_begins_with_the_present_not_with_years_of_journal(
    config: Config, journal: Journal, clock: Clock
) -> None:
    journal.instances.add(_instance(1))
    journal.series.advance(KEY, SeriesEvent.GEOMETRY_COMPLETE)
    step = _step(config, journal, clock)
    _run(step, clock)
    _run(step, clock)
    assert _events(config) == ["service_started"]


def test_an_older_journal_is_noticed_and_read_from_its_end(
    config: Config, journal: Journal, clock: Clock
) -> None:
    step = _step(config, journal, clock)
    _run(step, clock)
    for number in range(3):
        journal.instances.quarantine(_instance(number), f"reason {number}")
    _run(step, clock)
    journal.database.query("DELETE FROM event WHERE id > 1")  # a backup was put back
    again = _step(config, journal, clock)
    _run(again, clock)
    assert _events(config)[-2:] == ["service_started", "journal_replaced"]
    journal.series.advance(KEY, SeriesEvent.INSTANCE_STORED)
    journal.instances.quarantine(_instance(7), "later")
    _run(again, clock)
    assert _events(config)[-1] == "object_quarantined"


def test_a_changed_configuration_is_noted_at_the_start(
    config: Config, journal: Journal, clock: Clock
) -> None:
    for changed in (config, config, config.model_copy(update={"node": config.node.model_copy(update={"port": 104})})):  # fmt: skip
        _run(_step(changed, journal, clock), clock)
    assert _events(config) == [*["service_started"] * 3, "configuration_changed"]
    before, now = (_lines(config)[3]["what"][k] for k in ("before", "now"))
    assert (before, now) == tuple(_lines(config)[n]["what"]["configuration"] for n in (1, 2))


def test_a_promotion_names_who_asked(config: Config, journal: Journal, clock: Clock) -> None:
    step = _step(config, journal, clock)
    _run(step, clock)
    new = Promotion(0, 0.0, "promoted", None, "n", "1", "d" * 64, "e" * 64, None, None, "E. Miller", "because Doe^Jane")  # fmt: skip
    journal.promotions.record(new, 0)
    _run(step, clock)
    _run(step, clock)
    (line,) = _lines(config)[1:]
    assert line["event"] == "model_changed"
    assert line["who"] == [{"role": "user", "user": "E. Miller"}]
    assert "Doe" not in json.dumps(line), "what a person wrote as reason stays in the journal"


def test_the_end_of_the_trail_is_noted_in_the_journal(
    config: Config, journal: Journal, clock: Clock
) -> None:
    step = _step(config, journal, clock)
    _run(step, clock)
    step.close()
    assert _events(config) == ["service_started", "service_stopped"]
    anchors = journal.changes.anchors()
    assert list(anchors) == [1, 2]
    trail = Trail(config.node.state / "audit", b"", clock)
    assert verify(trail, anchors).is_intact
    assert not verify(trail, {**anchors, 2: "0" * 64}).is_intact


def _hear(step: AuditStep | Listener, event: Event) -> None:
    step.hear(type(event).__name__, asdict(event))


def test_for_every_event_of_the_journal_it_is_decided_whether_it_is_audited() -> None:
    left_out = {
        SeriesEvent.INSTANCE_STORED, SeriesEvent.RULES_ACCEPT, SeriesEvent.RULES_REJECT, SeriesEvent.CLAIMED,
        SeriesEvent.NOT_IN_VIEW, SeriesEvent.REFUSED, SeriesEvent.CLAIM_LOST, SeriesEvent.CLAIM_RETURNED,
        SeriesEvent.CRASHED_OUT, SeriesEvent.ALL_CONFIRMED, SeriesEvent.REDELIVERY_REQUESTED, DeliveryEvent.TRANSIENT_FAILURE, DeliveryEvent.DUE,
        DeliveryEvent.PROOF_MISSING, DeliveryEvent.NO_PROOF_OFFERED, DeliveryEvent.SUPERSEDED,
    }  # fmt: skip
    known = {str(e) for e in (*SeriesEvent, *DeliveryEvent)}
    assert known == {e for e in AUDITED if e in known} | {str(e) for e in left_out}


# ---- the log -------------------------------------------------------------------------------------


def _ended(**changes: Any) -> AssociationEnded:
    return replace(AssociationEnded("10.0.0.1", "MR1", 1, 0, "released", ""), **changes)


def test_associations_of_a_second_are_counted_together(
    config: Config, journal: Journal, clock: Clock
) -> None:
    step = _step(config, journal, clock)
    for _ in range(100):
        _hear(step, _ended())
    _hear(step, _ended(outcome="aborted", reason="silent"))
    _hear(step, AssociationRefused("10.0.0.9", "address not in [receive] peers"))
    _hear(step, ObjectRefused("10.0.0.1", "disk full", "0xA700"))
    _hear(step, NodeReady(1))
    _hear(step, CertificatesRenewed(("mutual", "dicom")))
    _run(step, clock)
    lines = _lines(config)[1:]
    assert [(x["event"], x["outcome"]) for x in lines] == [
        ("association_ended", "success"),
        ("association_ended", "minor_failure"),
        ("association_refused", "minor_failure"),
        ("object_refused", "minor_failure"),
        ("certificate_changed", "success"),
    ]
    assert lines[0]["what"] == {"times": 100, "stored": 100}
    assert lines[2]["who"] == [{"role": "source", "address": "10.0.0.9"}]


def test_a_disk_that_takes_nothing_loses_what_does_not_fit_and_says_so(
    config: Config, journal: Journal, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    step = _step(config, journal, clock)
    _run(step, clock)
    monkeypatch.setattr("node.audit.from_log.MOST_WAITING", 3)
    with monkeypatch.context() as patch:
        patch.setattr("node.audit.trail.append_durably", _no_space)
        for number in range(9):
            _hear(step, _ended(peer=f"10.0.0.{number}"))
            with pytest.raises(OSError, match="No space"):
                step.run_once()
            clock.pass_s(1.1)
    _run(step, clock)
    _run(step, clock)
    lines = _lines(config)[1:]
    assert [x["event"] for x in lines] == [*["association_ended"] * 4, "entries_lost"]
    assert lines[-1]["what"]["times"] == 5


def _no_space(path: Path, content: bytes) -> None:
    raise OSError(28, "No space left on device")


def test_the_listener_may_be_called_by_many_threads(clock: Clock) -> None:
    listener = Listener(clock)
    run: Callable[[], None] = lambda: [_hear(listener, _ended()) for _ in range(500)] and None  # noqa: E731
    import threading

    threads = [threading.Thread(target=run) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    (entry,) = listener.waiting()
    assert entry.what["times"] == 4000
    assert entry.event is AuditEvent.ASSOCIATION_ENDED
    assert listener.waiting() == ()
