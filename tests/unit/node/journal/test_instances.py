"""Objects that are corrected, set aside or quarantined, and rows whose step failed."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from node.errors import ClaimLost, IllegalTransition, UnknownUid
from node.journal.instances import CONFLICT, CORRECTED
from node.journal.journal import Journal
from node.journal.rows import NewInstance, ResultRow, SeriesKey, row_uid
from node.journal.states import DeliveryEvent, InstanceState, SeriesEvent, SeriesState

KEY, OTHER = SeriesKey("1.2.1", "1.2.3"), SeriesKey("1.2.2", "1.2.4")
E, S, V = SeriesEvent, SeriesState, DeliveryEvent
ELSEWHERE = {"study_uid": OTHER.study, "series_uid": OTHER.series}
TOKEN = "w1.7.1/1"  # noqa: S105 - names a claim


def _published(journal: Journal, tmp_path: Path) -> None:
    journal.series.advance(KEY, E.GEOMETRY_COMPLETE)
    journal.series.advance(KEY, E.RULES_ACCEPT)
    assert journal.series.claim(TOKEN) is not None
    journal.results.publish(KEY, TOKEN, ResultRow("r1", tmp_path / "r1", "m"), ["pacs"])


def _events(journal: Journal, key: SeriesKey) -> list[str]:
    return [e.event for e in journal.series.events(key) if e.delivery_id is None]


# ---- corrections ---------------------------------------------------------------------------------


def test_corrected_object_takes_the_place_and_reopens_the_series(
    journal: Journal, facts: Any, tmp_path: Path, clock: Any
) -> None:
    for number in (1, 2):
        journal.instances.add(facts(number))
    _published(journal, tmp_path)
    clock.pass_s(60)
    assert journal.instances.correct(facts(1, "new")) == "corrected"
    row = journal.series.get(KEY)
    assert (row.state, row.instances, row.last_at) == (S.RECEIVING, 2, clock())
    assert [i.digest for i in journal.instances.of_series(KEY)] == ["d2", "new"]
    (old,) = journal.instances.unused(KEY)
    assert (old.digest, old.state, old.reason, old.superseded_by, old.path) == (
        "d1", InstanceState.SUPERSEDED, CORRECTED, "new", facts(1).path,
    )  # fmt: skip
    assert journal.series.events(KEY)[-1].detail == {
        "late": True, "sop_instance": "1.2.3.1", "before": "d1", "now": "new",
    }  # fmt: skip
    assert _events(journal, KEY)[-1] == "instance_corrected"


def test_correction_takes_the_claim_away(journal: Journal, facts: Any, tmp_path: Path) -> None:
    journal.instances.add(facts(1))
    journal.series.advance(KEY, E.GEOMETRY_COMPLETE)
    journal.series.advance(KEY, E.RULES_ACCEPT)
    journal.series.claim(TOKEN)
    journal.instances.correct(facts(1, "new"))
    with pytest.raises(ClaimLost):
        journal.results.publish(KEY, TOKEN, ResultRow("r1", tmp_path / "r1", "m"), ["pacs"])


def test_correction_into_another_study_moves_the_objects(
    journal: Journal, facts: Any, tmp_path: Path
) -> None:
    for number in (1, 2):
        journal.instances.add(facts(number))
    _published(journal, tmp_path)
    journal.instances.correct(facts(1, "n1", **ELSEWHERE))
    assert (journal.series.get(KEY).state, journal.series.get(KEY).instances) == (S.RECEIVING, 1)
    assert [r.result_id for r in journal.results.corrected_into(OTHER)] == ["r1"]
    journal.instances.correct(facts(2, "n2", **ELSEWHERE))
    before, after = journal.series.get(KEY), journal.series.get(OTHER)
    assert (before.state, before.instances) == (S.SUPERSEDED, 0)
    assert before.reason == "corrected: now in series 1.2.4 of study 1.2.2"
    assert (after.state, after.instances) == (S.RECEIVING, 2)
    assert _events(journal, KEY)[-2:] == ["instance_superseded", "all_superseded"]
    assert _events(journal, OTHER) == ["instance_corrected", "instance_corrected"]
    assert journal.results.corrected_into(KEY) == []


def test_same_correction_again_changes_nothing(journal: Journal, facts: Any) -> None:
    journal.instances.add(facts(1))
    journal.instances.correct(facts(1, "new"))
    before = journal.series.get(KEY), journal.series.events(KEY)
    assert journal.instances.correct(facts(1, "new")) == "same"
    assert journal.instances.add(facts(1, "new")) == "same"
    assert (journal.series.get(KEY), journal.series.events(KEY)) == before


def test_correction_that_is_taken_back_makes_a_result_with_new_uids(
    journal: Journal, facts: Any
) -> None:
    journal.instances.add(facts(1))
    journal.instances.correct(facts(1, "new"))
    forced = journal.series.get(KEY).forced
    assert journal.instances.correct(facts(1)) == "corrected"
    assert [i.digest for i in journal.instances.of_series(KEY)] == ["d1"]
    assert [i.digest for i in journal.instances.unused(KEY)] == ["new"]
    assert (journal.series.get(KEY).forced, journal.series.get(KEY).instances) == (forced + 1, 1)


def test_correction_of_what_is_not_stored_is_stored(journal: Journal, facts: Any) -> None:
    journal.instances.quarantine(facts(1, "broken"), "cannot be read")
    assert journal.instances.correct(facts(1)) == "stored"
    assert journal.instances.correct(facts(1, "broken")) == "same"
    assert journal.series.get(KEY).instances == 1


# ---- quarantine ----------------------------------------------------------------------------------


def test_quarantined_object_has_a_series_with_a_reason(journal: Journal, facts: Any) -> None:
    long_study = "1." + "2" * 64
    journal.instances.quarantine(facts(1, study_uid=long_study), "no valid StudyInstanceUID")
    (row,) = journal.series.in_states(S.QUARANTINED)
    assert (row.key, row.instances) == (SeriesKey(long_study, KEY.series), 0)
    assert journal.series.find("1.2.3.1") == [row]
    ((_, counts),) = journal.instances.unused_counts().items()
    assert counts == {(InstanceState.QUARANTINED, "no valid StudyInstanceUID"): 1}


@pytest.mark.parametrize("study", ["Meier^Hans", "", "1" * 129])
def test_what_is_no_uid_names_no_row(journal: Journal, facts: Any, study: str) -> None:
    journal.instances.quarantine(facts(1, study_uid=study), "no valid StudyInstanceUID")
    assert [r.key for r in journal.series.in_states()] == [SeriesKey("", KEY.series)]


def test_second_series_with_known_objects_has_its_own_row(journal: Journal, facts: Any) -> None:
    journal.instances.add(facts(1))
    assert journal.instances.add(facts(1, "other", **ELSEWHERE)) == "conflict"
    assert journal.series.get(OTHER).state is S.QUARANTINED
    assert [i.reason for i in journal.instances.unused(OTHER)] == [CONFLICT]
    assert journal.series.get(KEY).instances == 1


def test_quarantined_series_receives_what_can_be_used(journal: Journal, facts: Any) -> None:
    journal.instances.quarantine(facts(1, "broken"), "cannot be read")
    assert journal.instances.add(facts(2)) == "stored"
    assert (journal.series.get(KEY).state, journal.series.get(KEY).instances) == (S.RECEIVING, 1)


def test_object_set_aside_leaves_the_rest_to_be_judged(journal: Journal, facts: Any) -> None:
    for number in (1, 2):
        journal.instances.add(facts(number))
    journal.series.advance(KEY, E.GEOMETRY_COMPLETE)
    assert journal.instances.set_aside("1.2.3.1", "d1", "1.2.3.1: cannot be read") is True
    row = journal.series.get(KEY)
    assert (row.state, row.instances, row.reason) == (S.RECEIVING, 1, "1.2.3.1: cannot be read")
    assert journal.instances.set_aside("1.2.3.1", "d1", "again") is False
    assert journal.instances.set_aside("1.2.3.2", "d2", "1.2.3.2: cannot be read") is True
    row = journal.series.get(KEY)
    assert (row.state, row.instances, row.reason) == (S.QUARANTINED, 0, "1.2.3.2: cannot be read")
    assert [i.path for i in journal.instances.unused(KEY)] == [facts(1).path, facts(2).path]


# ---- faults --------------------------------------------------------------------------------------


def test_series_with_a_fault_waits_and_lets_others_pass(
    journal: Journal, facts: Any, clock: Any
) -> None:
    journal.instances.add(facts(1))
    journal.instances.add(facts(2, **ELSEWHERE))
    journal.series.defer(KEY, "track", "OSError: disk", clock() + 10)
    assert [r.key for r in journal.series.due(S.RECEIVING)] == [OTHER]
    assert len(journal.series.in_states(S.RECEIVING)) == 2
    clock.pass_s(10)
    journal.series.defer(KEY, "track", "OSError: disk", clock() + 20)
    row = journal.series.get(KEY)
    assert (row.fault, row.fault_step, row.fault_tries, row.try_at) == (
        "OSError: disk", "track", 2, clock() + 20,
    )  # fmt: skip
    assert _events(journal, KEY) == ["instance_stored", "deferred"]
    clock.pass_s(20)
    assert [r.key for r in journal.series.due(S.RECEIVING)] == [KEY, OTHER]
    journal.series.advance(KEY, E.GEOMETRY_COMPLETE)
    row = journal.series.get(KEY)
    assert (row.fault, row.fault_step, row.fault_tries) == ("", "", 0)


def test_claim_passes_over_a_series_with_a_fault(journal: Journal, facts: Any, clock: Any) -> None:
    journal.instances.add(facts(1))
    journal.series.advance(KEY, E.GEOMETRY_COMPLETE)
    journal.series.advance(KEY, E.RULES_ACCEPT)
    journal.series.defer(KEY, "work", "OSError: disk", clock() + 10)
    assert journal.series.claim(TOKEN) is None
    clock.pass_s(-3600)  # a clock set back delays nothing
    assert journal.series.claim(TOKEN) is not None


def test_delivery_with_a_fault_waits_and_lets_others_pass(
    journal: Journal, facts: Any, clock: Any, tmp_path: Path
) -> None:
    journal.instances.add(facts(1))
    journal.series.advance(KEY, E.GEOMETRY_COMPLETE)
    journal.series.advance(KEY, E.RULES_ACCEPT)
    journal.series.claim(TOKEN)
    journal.results.publish(KEY, TOKEN, ResultRow("r1", tmp_path / "r1", "m"), ["pacs", "web"])
    first, second = journal.deliveries.due(clock())
    journal.deliveries.defer(first.id, "ValueError in parcels_in", clock() + 10)
    assert [d.id for d in journal.deliveries.due(clock())] == [second.id]
    due = journal.deliveries.due(clock() + 10)
    assert [(d.id, d.fault, d.fault_tries) for d in due] == [
        (first.id, "ValueError in parcels_in", 1), (second.id, "", 0),
    ]  # fmt: skip
    journal.deliveries.advance(first.id, V.PEER_ACCEPTED)
    assert journal.deliveries.of_series(KEY)[0].fault == ""


# ---- whatever comes, in any order ----------------------------------------------------------------

_ACTIONS = ("add", "correct", "quarantine", "set_aside", "advance", "retry")
_STEPS = st.lists(
    st.tuples(
        st.sampled_from(_ACTIONS),
        st.integers(1, 3),  # SOP Instance UID
        st.integers(1, 3),  # its bytes
        st.sampled_from([KEY, OTHER]),
    ),
    max_size=25,
)


def _act(journal: Journal, make: Any, step: tuple[str, int, int, SeriesKey]) -> None:
    action, number, content, key = step
    facts = make(number, f"d{number}.{content}", study_uid=key.study, series_uid=key.series)
    if action == "add":
        journal.instances.add(facts)
    elif action == "correct":
        journal.instances.correct(facts)
    elif action == "quarantine":
        journal.instances.quarantine(facts, "broken")
    elif action == "set_aside":
        journal.instances.set_aside(facts.sop_instance_uid, facts.digest, "cannot be read")
    elif action == "advance":
        for row in journal.series.in_states(S.RECEIVING):
            journal.series.advance(row.key, E.WENT_QUIET)
    else:
        with suppress(IllegalTransition, UnknownUid):
            journal.request_retry(key.series)


@given(_STEPS)
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_counts_and_states_hold_whatever_comes(
    facts: Any, clock: Any, steps: list[tuple[str, int, int, SeriesKey]]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        journal = Journal.open(Path(folder) / "journal.sqlite", clock)
        came = set()
        for step in steps:
            _act(journal, facts, step)
            if step[0] in {"add", "correct", "quarantine"}:
                came.add((f"1.2.3.{step[1]}", f"d{step[1]}.{step[2]}"))
        every = list(journal.instances.iterate())
        assert {(i.sop_instance_uid, i.digest) for i in every} == came  # nothing is lost
        stored = [i for i in every if i.state is InstanceState.STORED]
        assert len({i.sop_instance_uid for i in stored}) == len(stored)
        assert all(i.reason for i in every if i.state is not InstanceState.STORED)
        for row in journal.series.in_states():
            assert row.instances == len(journal.instances.of_series(row.key))
            assert (row.instances == 0) == (row.state in {S.QUARANTINED, S.SUPERSEDED})
        journal.close()


# ---- damaged files -------------------------------------------------------------------------------


def test_object_whose_file_was_damaged_may_come_again(journal: Journal, facts: Any) -> None:
    journal.instances.add(facts(1))
    journal.instances.add(facts(2))
    for _ in range(2):  # also a second time
        assert journal.instances.set_aside("1.2.3.1", "d1", "gone", damaged=True)
        assert [i.digest for i in journal.instances.unused(KEY)] == ["d1-damaged"]
        assert journal.instances.add(facts(1)) == "stored"
        assert journal.instances.unused(KEY) == []
        assert len(journal.instances.of_series(KEY)) == 2


def test_unreadable_object_whose_file_is_as_received_stays_apart(
    journal: Journal, facts: Any
) -> None:
    journal.instances.add(facts(1))
    assert journal.instances.set_aside("1.2.3.1", "d1", "cannot be read")
    assert journal.instances.add(facts(1)) == "same"


def test_what_is_no_uid_is_neither_in_the_history_nor_shown(
    journal: Journal, facts: Callable[..., NewInstance]
) -> None:
    journal.instances.quarantine(facts(1, sop_instance_uid="Doe^Jane"), "not a UID")
    journal.instances.quarantine(facts(2), "no pixel data")
    hostile, usual = journal.instances.quarantined()
    assert (hostile.shown_uid, usual.shown_uid) == ("", "1.2.3.2")
    details = [e.detail["sop_instance"] for e in journal.series.events(hostile.series)]
    assert details == ["", "1.2.3.2"]
    assert journal.changes.sender("", hostile.digest) == "MR1"


@pytest.mark.parametrize("uid", ["Doe^Jane", "1.2.3\n", "1.2.3 Doe", "\udce9", "1" * 5000])
def test_what_is_no_uid_is_named_by_a_digest_and_found_again(
    journal: Journal, facts: Any, uid: str
) -> None:
    new = facts(1, sop_instance_uid=uid)
    journal.instances.quarantine(new, "no valid SOP Instance UID")
    journal.instances.quarantine(new, "no valid SOP Instance UID")
    (row,) = journal.instances.named(uid)
    assert re.fullmatch(r"no-uid-[0-9a-f]{32}", row.sop_instance_uid)
    assert row.shown_uid == ""
    assert journal.instances.named(row.sop_instance_uid) == [row]
    assert journal.instances.add(facts(2, sop_instance_uid=uid)) == "stored"
    found = journal.instances.stored_digest(uid)
    assert found is not None
    assert journal.instances.set_aside(uid, found[0], "unreadable")
    texts = [
        tuple(r)
        for t in ("instance", "event", "series")
        for r in journal.database.query(f"SELECT * FROM {t}")  # noqa: S608
    ]
    assert not any(uid in map(str, row) or "Doe" in str(row) for row in texts)


def test_a_uid_and_a_digest_are_kept_as_they_are() -> None:
    assert row_uid("1.2.840.10008") == "1.2.840.10008"
    assert row_uid(row_uid("Doe^Jane")) == row_uid("Doe^Jane") != row_uid("Doe^John")
    assert row_uid("") == ""
