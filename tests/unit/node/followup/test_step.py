"""A follow-up is made when a patient has results of two studies, made again when they change, and never of two patients."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydicom import dcmread

from node.events import FollowUpMade, FollowUpOutdated, StepFailed
from node.journal.rows import ResultRow, SeriesKey
from node.journal.states import DeliveryEvent, DeliveryState, SeriesEvent
from node.sandbox.child import Silence
from tests.support.followups import Site
from tests.support.visits import content


def made(followup_site: Site, key: SeriesKey) -> ResultRow:
    """The follow-up of a series that counts."""
    (row,) = [r for r in followup_site.followups(key) if not r.superseded_because]
    return row


def values(row: ResultRow) -> list[float]:
    written = json.loads((row.folder / "result.json").read_text())
    return [study["values"]["OC"]["value"] for study in written["studies"]]


def deliveries(followup_site: Site, row: ResultRow) -> list[tuple[str, str, str]]:
    return [
        (d.kind, d.state, d.destination)
        for key in [SeriesKey(*source(row))]
        for d in followup_site.journal.deliveries.of_series(key)
        if d.result_id == row.result_id
    ]


def source(row: ResultRow) -> tuple[str, str]:
    written = json.loads((row.folder / "result.json").read_text())
    return written["source"]["study"], written["source"]["series"]


def test_the_second_study_of_a_patient_gets_a_follow_up(followup_site: Site) -> None:
    followup_site.visit(1, "20250301", 10.0)
    assert followup_site.look() == 0
    key = followup_site.visit(2, "20260301", 12.0)
    assert followup_site.look() == 1
    row = made(followup_site, key)
    assert values(row) == [10.0, 12.0]
    assert row.inputs == ("0101" + "a" * 28, "0201" + "a" * 28)
    assert deliveries(followup_site, row) == [("result", "pending", "pacs")]
    assert followup_site.events == [FollowUpMade(key.series, row.result_id, 2)]
    assert followup_site.look(10) == 0
    report = dcmread(row.folder / "followup.dcm")
    assert (report.StudyInstanceUID, report.PatientID) == (key.study, "PID-7")


def test_it_is_the_same_whatever_the_order_of_arrival(followup_site: Site, tmp_path: Any) -> None:
    later = followup_site.visit(2, "20260301", 12.0)
    followup_site.visit(1, "20250301", 10.0)
    followup_site.look()
    row = made(followup_site, later)
    assert values(row) == [10.0, 12.0]
    # made of the same two results, it has the same UIDs: nothing else is in its id
    assert row.result_id == followup_site.step.making.key(row.inputs, "")


def test_an_earlier_study_that_comes_late_makes_another(followup_site: Site) -> None:
    followup_site.visit(2, "20250301", 10.0)
    key = followup_site.visit(3, "20260301", 12.0)
    followup_site.look()
    first = made(followup_site, key)
    followup_site.visit(1, "20240301", 9.0)
    assert followup_site.look() == 1
    row = made(followup_site, key)
    assert values(row) == [9.0, 10.0, 12.0]
    old, new = followup_site.followups(key)
    assert (old.result_id, old.superseded_by, old.superseded_because) == (
        first.result_id, row.result_id, "newer_comparison",
    )  # fmt: skip
    assert new.result_id == row.result_id
    before = dcmread(row.folder / "followup.dcm").PredecessorDocumentsSequence[0]
    named = before.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
    assert named == dcmread(first.folder / "followup.dcm").SOPInstanceUID


def test_a_newer_study_gets_its_own_and_leaves_the_older(followup_site: Site) -> None:
    followup_site.visit(1, "20240301", 9.0)
    second = followup_site.visit(2, "20250301", 10.0)
    followup_site.look()
    third = followup_site.visit(3, "20260301", 12.0)
    followup_site.look()
    assert values(made(followup_site, second)) == [9.0, 10.0]
    assert values(made(followup_site, third)) == [9.0, 10.0, 12.0]


def test_a_replaced_earlier_result_outdates_and_makes_another(followup_site: Site) -> None:
    earlier = followup_site.visit(1, "20250301", 10.0)
    key = followup_site.visit(2, "20260301", 12.0)
    followup_site.look()
    first = made(followup_site, key)
    followup_site.journal.request_retry(earlier.series, force=True)
    followup_site.process(earlier, 10.5, "b" * 32, AcquisitionDate="20250301")
    assert followup_site.look() == 2
    assert followup_site.followups(key)[0].superseded_because == "input_changed"
    assert values(made(followup_site, key)) == [10.5, 12.0]
    assert FollowUpOutdated(first.result_id) in followup_site.events


def test_a_withdrawn_earlier_result_leaves_none(followup_site: Site) -> None:
    followup_site.visit(1, "20250301", 10.0)
    key = followup_site.visit(2, "20260301", 12.0)
    followup_site.look()
    with followup_site.journal.database.transaction() as tx:
        tx.execute(
            "UPDATE result SET superseded_because = 'withdrawn' WHERE result_id LIKE '0101%'"
        )
    assert followup_site.look() == 1
    (row,) = followup_site.followups(key)
    assert row.superseded_because == "input_changed"


def test_it_is_taken_back_where_it_arrived_and_at_once(followup_site: Site) -> None:
    followup_site.visit(1, "20250301", 10.0)
    key = followup_site.visit(2, "20260301", 12.0)
    followup_site.look()
    row = made(followup_site, key)
    with followup_site.journal.database.transaction() as tx:
        tx.execute("UPDATE delivery SET state = 'confirmed', accepted = '[\"followup.dcm\"]'")
        tx.execute(
            "UPDATE result SET superseded_because = 'withdrawn' WHERE result_id LIKE '0101%'"
        )
    followup_site.look()
    assert (row.result_id, "input_changed") in followup_site.journal.withdrawals.open("pacs")


def test_the_one_before_is_taken_back_when_the_next_has_arrived(followup_site: Site) -> None:
    followup_site.visit(2, "20250301", 10.0)
    key = followup_site.visit(3, "20260301", 12.0)
    followup_site.look()
    first = made(followup_site, key)
    with followup_site.journal.database.transaction() as tx:
        tx.execute("UPDATE delivery SET state = 'confirmed', accepted = '[\"followup.dcm\"]'")
    followup_site.visit(1, "20240301", 9.0)
    followup_site.look()
    assert followup_site.journal.withdrawals.open("pacs") == []
    with followup_site.journal.database.transaction() as tx:
        tx.execute("UPDATE delivery SET state = 'confirmed' WHERE result_id = ?", (made(followup_site, key).result_id,))  # fmt: skip
    assert followup_site.journal.withdrawals.open("pacs") == [(first.result_id, "newer_comparison")]


def test_a_chain_of_undelivered_ones_is_taken_back_by_the_last(followup_site: Site) -> None:
    """What takes the first one's place is the third, when the second never arrived."""
    followup_site.visit(3, "20250301", 10.0)
    key = followup_site.visit(4, "20260301", 12.0)
    followup_site.look()
    first = made(followup_site, key)
    with followup_site.journal.database.transaction() as tx:
        tx.execute("UPDATE delivery SET state = 'confirmed', accepted = '[\"followup.dcm\"]'")
    for study, day in ((2, "20240301"), (1, "20230301")):
        followup_site.visit(study, day, 9.0)
        followup_site.look()
    rows = followup_site.followups(key)
    assert [r.superseded_by for r in rows] == [rows[2].result_id, rows[2].result_id, ""]
    with followup_site.journal.database.transaction() as tx:
        tx.execute("UPDATE delivery SET state = 'confirmed' WHERE result_id = ?", (rows[2].result_id,))  # fmt: skip
    assert followup_site.journal.withdrawals.open("pacs") == [(first.result_id, "newer_comparison")]


@pytest.mark.parametrize(
    "other",
    [
        {"PatientBirthDate": "19600103"},
        {"PatientBirthDate": ""},
        {"PatientSex": "M"},
        {"IssuerOfPatientID": "OTHER"},
        {"PatientID": "PID-70"},
    ],
)
def test_two_patients_are_never_joined(followup_site: Site, other: dict[str, str]) -> None:
    followup_site.visit(1, "20250301", 10.0)
    key = followup_site.visit(2, "20260301", 12.0, **other)
    assert followup_site.look(5) == 0
    assert followup_site.followups(key) == []


def test_a_study_of_two_patients_is_of_none(followup_site: Site) -> None:
    followup_site.visit(1, "20250301", 10.0)
    key = followup_site.visit(2, "20260301", 12.0)
    followup_site.visit(2, "20260301", 12.0, series=2, PatientID="PID-8")
    followup_site.visit(3, "20250401", 12.0, PatientID="PID-8")
    assert followup_site.look(5) == 0
    assert followup_site.followups(key) == []


def test_objects_of_another_patient_than_the_images_are_not_compared(followup_site: Site) -> None:
    followup_site.visit(1, "20250301", 10.0)
    key = followup_site.visit(2, "20260301", 12.0)
    path = next((followup_site.clinic.state / "results").glob("0101*")) / "midplane.dcm"
    ds = dcmread(path)
    ds.PatientID = "PID-8"
    ds.save_as(path)
    assert followup_site.look(5) == 0
    assert followup_site.followups(key) == []
    (event,) = followup_site.events
    assert isinstance(event, StepFailed)
    assert "another patient" in event.error
    assert "PID" not in event.error


@pytest.mark.parametrize("change", [{"AcquisitionDate": "20250301"}, {"AcquisitionDate": ""}])
def test_the_same_images_and_studies_without_a_date_are_not_compared(
    followup_site: Site, change: dict[str, str]
) -> None:
    followup_site.visit(1, "20250301", 10.0)
    key = followup_site.visit(2, "20260301", 12.0, **change)
    assert followup_site.look(5) == 0
    assert followup_site.followups(key) == []


def test_it_is_off_unless_it_is_wanted_and_what_was_made_is_still_outdated(
    followup_site: Site,
) -> None:
    followup_site.visit(1, "20250301", 10.0)
    key = followup_site.visit(2, "20260301", 12.0)
    followup_site.restart(wanted=False)
    assert followup_site.look(5) == 0
    followup_site.restart(wanted=True)
    followup_site.look()
    followup_site.restart(wanted=False)
    with followup_site.journal.database.transaction() as tx:
        tx.execute(
            "UPDATE result SET superseded_because = 'withdrawn' WHERE result_id LIKE '0101%'"
        )
    assert followup_site.look() == 1
    assert followup_site.followups(key)[0].superseded_because == "input_changed"


def test_what_a_person_took_back_is_not_made_again(followup_site: Site) -> None:
    followup_site.visit(1, "20250301", 10.0)
    key = followup_site.visit(2, "20260301", 12.0)
    followup_site.look()
    with followup_site.journal.database.transaction() as tx:
        tx.execute("UPDATE result SET superseded_because = 'withdrawn' WHERE inputs <> '[]'")
    followup_site.restart()
    assert followup_site.look(5) == 0
    followup_site.visit(3, "20240301", 9.0)  # another comparison is wanted now
    assert followup_site.look(5) == 1
    assert values(made(followup_site, key)) == [9.0, 10.0, 12.0]


def test_an_earlier_result_that_left_the_disk_changes_nothing(followup_site: Site) -> None:
    followup_site.visit(1, "20250301", 10.0)
    key = followup_site.visit(2, "20260301", 12.0)
    followup_site.look()
    with followup_site.journal.database.transaction() as tx:
        tx.execute("UPDATE result SET purged_at = 1 WHERE result_id LIKE '0101%'")
    followup_site.restart()
    assert followup_site.look(5) == 0
    assert len(followup_site.followups(key)) == 1


def test_it_waits_until_the_study_is_at_rest(followup_site: Site) -> None:
    followup_site.visit(1, "20250301", 10.0)
    key = followup_site.visit(2, "20260301", 12.0)
    other = followup_site.clinic.receive(2, 2, AcquisitionDate="20260301", AcquisitionTime="101500")
    assert followup_site.look(5) == 0
    followup_site.journal.series.advance(other, SeriesEvent.WENT_QUIET)
    assert followup_site.look(5) == 1
    assert len(followup_site.followups(key)) == 1


# ---- kills and faults ----------------------------------------------------------------------------


def test_a_kill_after_the_folder_finds_it_again(followup_site: Site, monkeypatch: Any) -> None:
    followup_site.visit(1, "20250301", 10.0)
    key = followup_site.visit(2, "20260301", 12.0)
    table = type(followup_site.journal.followups)

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as during:
        during.setattr(table, "publish", killed)
        with pytest.raises(KeyboardInterrupt):
            followup_site.look()
    (orphan,) = [p for p in (followup_site.clinic.state / "results").iterdir() if (p / "followup.dcm").exists()]  # fmt: skip
    written = (orphan / "followup.dcm").read_bytes()
    followup_site.clock.pass_s(1000.0)  # another time would be other bytes
    followup_site.restart()
    assert followup_site.look() == 1
    row = made(followup_site, key)
    assert row.folder == orphan
    assert (orphan / "followup.dcm").read_bytes() == written
    assert len(deliveries(followup_site, row)) == 1


def test_a_kill_between_row_and_the_next_look_doubles_nothing(followup_site: Site) -> None:
    followup_site.visit(1, "20250301", 10.0)
    key = followup_site.visit(2, "20260301", 12.0)
    followup_site.look()
    followup_site.restart()
    assert followup_site.look(5) == 0
    assert len(followup_site.followups(key)) == 1
    assert len(deliveries(followup_site, made(followup_site, key))) == 1


def test_a_result_that_is_replaced_while_it_is_made_is_not_published(followup_site: Site) -> None:
    earlier = followup_site.visit(1, "20250301", 10.0)
    key = followup_site.visit(2, "20260301", 12.0)
    usual = followup_site.ask

    def slow(question: object) -> Any:
        answer = usual(question)
        if "b" * 32 not in str(question):
            followup_site.journal.request_retry(earlier.series, force=True)
            followup_site.process(earlier, 10.5, "b" * 32, AcquisitionDate="20250301")
        return answer

    followup_site.restart(ask=slow)
    assert followup_site.look(5) == 1
    assert values(made(followup_site, key)) == [10.5, 12.0]
    assert len(followup_site.followups(key)) == 1


def test_a_fault_waits_and_stops_no_other_patient(followup_site: Site) -> None:
    followup_site.visit(1, "20250301", 10.0)
    bad = followup_site.visit(2, "20260301", 12.0)
    next((followup_site.clinic.state / "results").glob("0101*")).joinpath(
        "measurements.dcm"
    ).unlink()
    other = {"PatientID": "PID-9"}
    followup_site.visit(3, "20250301", 10.0, **other)
    good = followup_site.visit(4, "20260301", 12.0, **other)
    assert followup_site.look(3) == 1
    assert len(followup_site.followups(good)) == 1
    assert followup_site.followups(bad) == []
    faults = [e for e in followup_site.events if isinstance(e, StepFailed)]
    assert len(faults) == 1  # said once, however often it is tried
    states = {d.state for d in followup_site.journal.deliveries.of_series(bad)}
    assert states == {DeliveryState.PENDING}  # its result is delivered all the same


def test_a_silent_process_is_a_fault_of_that_patient_alone(followup_site: Site) -> None:
    followup_site.visit(1, "20250301", 10.0)
    followup_site.visit(2, "20260301", 12.0)
    asked: list[object] = []
    followup_site.restart(ask=lambda question: asked.append(question) or Silence("late"))
    followup_site.look(5)
    assert len(asked) == 1  # the next try is half a minute later
    followup_site.clock.pass_s(60.0)
    followup_site.look(1)
    assert len(asked) == 2


def test_a_destination_without_such_objects_gets_no_delivery(followup_site: Site) -> None:
    followup_site.restart(
        destinations=(("pacs", ("followup_page.dcm",)), ("other", ("followup.dcm",)))
    )
    followup_site.visit(1, "20250301", 10.0)
    key = followup_site.visit(2, "20260301", 12.0)
    followup_site.look()
    assert deliveries(followup_site, made(followup_site, key)) == [("result", "pending", "other")]


def test_many_studies_are_the_first_and_the_newest(followup_site: Site) -> None:
    for n in range(1, 15):
        followup_site.visit(n, f"20{10 + n}0301", float(n))
    followup_site.look()
    row = made(followup_site, SeriesKey("1.1.14", "1.2.14.1"))
    assert values(row) == [1.0, *map(float, range(4, 15))]


def test_nothing_of_a_result_depends_on_it(followup_site: Site) -> None:
    """The series' own result, its state and what is found of it are as without a follow-up."""
    followup_site.visit(1, "20250301", 10.0)
    key = followup_site.visit(2, "20260301", content(12.0))
    followup_site.look()
    assert [r.result_id for r in followup_site.journal.results.of_series(key)] == [
        "0201" + "a" * 28
    ]
    row = followup_site.journal.series.get(key)
    assert followup_site.journal.results.newest_folders([row.id])[row.id].name == "0201" + "a" * 28
    assert {c.result.result_id[:4] for c in followup_site.journal.results.current(10)} == {
        "0101",
        "0201",
    }
    (own,) = [d for d in followup_site.journal.deliveries.of_series(key) if not d.is_followup]
    for event in (DeliveryEvent.PEER_ACCEPTED, DeliveryEvent.PROOF_FOUND):
        followup_site.journal.deliveries.advance(own.id, event)
    assert followup_site.journal.series.get(key).state == "delivered"
