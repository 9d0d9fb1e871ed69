"""Results of one patient are compared, and never those of two; only the results that count."""

from __future__ import annotations

import pytest

from node.errors import UnknownUid
from node.journal.rows import NewInstance
from node.observe.followup import FollowUp, find_followups
from tests.support.visits import WHO, Clinic, content


def one(clinic: Clinic, text: str = "PID-7") -> FollowUp:
    found = find_followups(clinic.journal, text)
    assert len(found.followups) == 1
    return found.followups[0]


def values(followup: FollowUp) -> list[float | None]:
    return [visit.values["OC"].value for visit in followup.visits]


def test_studies_of_a_patient_are_compared_in_the_order_of_acquisition(clinic: Clinic) -> None:
    clinic.visit(1, "20260301", content(12.0))
    clinic.visit(2, "20250301", content(10.0))  # sent later, acquired earlier
    clinic.visit(3, "20260501", content(12.1))
    followup = one(clinic)
    assert values(followup) == [10.0, 12.0, 12.1]
    assert [(s.before.study, s.after.study, s.days) for s in followup.steps] == [
        ("1.1.2", "1.1.1", 365), ("1.1.1", "1.1.3", 61), ("1.1.2", "1.1.3", 426),
    ]  # fmt: skip
    assert [s.changes["OC"].exceeds for s in followup.steps] == [True, False, True]
    assert followup == one(clinic, "1.1.1") == one(clinic, "1.1.3")


@pytest.mark.parametrize(
    "other",
    [
        {"PatientBirthDate": "19600103"},
        {"PatientSex": "M"},
        {"IssuerOfPatientID": "OTHER"},
        {"PatientID": "PID-70"},
        {"PatientID": "pid-7"},
    ],
)
def test_another_patient_is_never_compared(clinic: Clinic, other: dict[str, str]) -> None:
    clinic.visit(1, "20250301", content(10.0))
    clinic.visit(2, "20260301", content(20.0), **other)
    assert values(one(clinic, "1.1.1")) == [10.0]
    assert values(one(clinic, "1.1.2")) == [20.0]


def test_two_patients_with_one_id_are_two_follow_ups(clinic: Clinic) -> None:
    clinic.visit(1, "20250301", content(10.0))
    clinic.visit(2, "20260301", content(20.0), PatientBirthDate="19710102")
    clinic.visit(3, "20260401", content(11.0))
    found = find_followups(clinic.journal, "PID-7")
    assert sorted(values(f) for f in found.followups) == [[10.0, 11.0], [20.0]]


@pytest.mark.parametrize(
    "header",
    [
        {"PatientBirthDate": ""},
        {"PatientBirthDate": "1960"},
        {"PatientBirthDate": "19601399"},
        {"PatientBirthDate": "00000101"},
        {"PatientID": ""},
        {"PatientID": "X" * 64, "PatientBirthDate": "19600102"},  # may be the beginning of two
        {"PatientID": "Müller", "SpecificCharacterSet": "ISO_IR 999"},
    ],
)
@pytest.mark.filterwarnings("ignore::UserWarning")
def test_studies_that_identify_no_patient_are_left_out(
    clinic: Clinic, header: dict[str, str]
) -> None:
    clinic.visit(1, "20250301", content(10.0), **header)
    clinic.visit(2, "20260301", content(10.0), **header)
    for study in ("1.1.1", "1.1.2"):
        found = find_followups(clinic.journal, study)
        assert found.followups == ()
        assert found.left_out == ((study, "not_identified"),)


def test_a_study_with_the_id_and_no_birth_date_is_named(clinic: Clinic) -> None:
    clinic.visit(1, "20250301", content(10.0))
    clinic.visit(2, "20260301", content(20.0), PatientBirthDate="")
    found = find_followups(clinic.journal, "PID-7")
    assert [values(f) for f in found.followups] == [[10.0]]
    assert found.left_out == (("1.1.2", "not_identified"),)


def test_only_the_result_that_counts_is_compared(clinic: Clinic) -> None:
    key = clinic.visit(1, "20250301", content(10.0))
    clinic.visit(2, "20260301", content(11.0))
    clinic.journal.request_retry(key.series, force=True)
    assert values(one(clinic)) == [10.0, 11.0]  # until there is another
    clinic.process(key, content(10.4), "again")
    assert values(one(clinic)) == [10.4, 11.0]


def test_a_corrected_identity_counts_at_once(clinic: Clinic) -> None:
    """The earlier header named another patient; the result that was made of it does not count any more."""
    clinic.visit(1, "20250301", content(10.0))
    key = clinic.visit(2, "20260301", content(20.0))
    path = clinic.write(
        clinic.state / "spool" / "new", series=key.series, slices=1,
        **WHO | {"StudyInstanceUID": key.study, "PatientID": "PID-8", "AcquisitionDate": "20260301"},
    )[0]  # fmt: skip
    clinic.journal.instances.add(
        NewInstance(f"{key.series}.1", "1.2", *key, "corrected", "", path, 1)
    )
    with clinic.journal.database.transaction() as tx:
        tx.execute("UPDATE instance SET state = 'superseded' WHERE digest <> 'corrected' AND sop_instance = ?", (f"{key.series}.1",))  # fmt: skip
        tx.execute("UPDATE instance SET state = 'stored' WHERE digest = 'corrected'")
    assert values(one(clinic)) == [10.0]
    assert values(one(clinic, "PID-8")) == [20.0]


def test_a_superseded_or_purged_result_is_no_visit(clinic: Clinic) -> None:
    clinic.visit(1, "20250301", content(10.0))
    for study, column in ((2, "superseded_by = 'x'"), (3, "superseded_because = 'newer_input'"), (4, "purged_at = 1")):  # fmt: skip
        key = clinic.visit(study, "20260301", content(20.0))
        with clinic.journal.database.transaction() as tx:
            tx.execute(f"UPDATE result SET {column} WHERE result_id = ?", (f"r{key.series}",))  # noqa: S608
    assert values(one(clinic)) == [10.0]
    with pytest.raises(UnknownUid, match="retention"):
        find_followups(clinic.journal, "1.1.2")


def test_of_two_results_of_a_study_the_fuller_one_is_compared(clinic: Clinic) -> None:
    clinic.visit(1, "20250301", content(10.0))
    for series, oc in ((1, None), (2, 12.0)):
        key = clinic.receive(2, series, AcquisitionDate="20260301")
        clinic.publish(key, content(oc))
    followup = one(clinic)
    assert values(followup) == [10.0, 12.0]
    assert [visit.others for visit in followup.visits] == [0, 1]


def test_what_differs_between_studies_is_noted(clinic: Clinic) -> None:
    model = content()["model"] | {"version": "0.9.0"}
    clinic.visit(1, "20250301", content(10.0, model=model))
    source = {"frame_of_reference": "", "spacing_mm": [0.9, 0.9, 1.0]}
    clinic.visit(2, "20260301", content(10.5, source=source), StationName="MR2")
    (step,) = one(clinic).steps
    assert step.notes == ("other_scanner", "other_voxel", "other_model")
    assert step.changes["OC"].exceeds is False


def test_the_same_images_under_other_uids_are_no_change(clinic: Clinic) -> None:
    clinic.visit(1, "20250301", content(10.0))
    clinic.visit(2, "20250301", content(10.0))
    (step,) = one(clinic).steps
    assert {change.reason for change in step.changes.values()} == {"same_images"}
    clinic.visit(
        3, "20250301", content(13.0), AcquisitionTime="113000"
    )  # a second acquisition of the day
    assert one(clinic).steps[1].changes["OC"].exceeds is True


@pytest.mark.parametrize(("height_mm", "reason"), [(35.0, "other_level"), (5.0, "")])
def test_levels_that_lie_apart_in_one_frame_are_two_discs(
    clinic: Clinic, height_mm: float, reason: str
) -> None:
    frame = {"frame_of_reference": "1.9", "spacing_mm": [1.0, 1.0, 1.0]}
    level = content()["level"]
    clinic.visit(1, "20250301", content(10.0, source=frame))
    moved = level | {"centre_mm": [0.0, 0.0, height_mm]}
    clinic.visit(2, "20250301", content(20.0, source=frame, level=moved), AcquisitionTime="113000")
    assert one(clinic).steps[0].changes["OC"].reason == reason


def test_another_level_or_a_doubtful_one_gives_no_verdict(clinic: Clinic) -> None:
    level = content()["level"]
    clinic.visit(1, "20250301", content(10.0))
    clinic.visit(2, "20260301", content(20.0, level=level | {"name": "L3/L4"}))
    clinic.visit(3, "20270301", content(20.0, warnings=[{"code": "level"}]))
    first, second, overall = one(clinic).steps
    assert first.changes["OC"].reason == "other_level"
    assert second.changes["OC"].reason == "other_level"
    assert (overall.changes["OC"].change, overall.changes["OC"].reason) == (10.0, "level_doubtful")


def test_a_damaged_result_is_named(clinic: Clinic) -> None:
    clinic.visit(1, "20250301", content(10.0))
    key = clinic.visit(2, "20260301", content(11.0))
    (clinic.state / "results" / f"r{key.series}" / "result.json").write_text("{")
    found = find_followups(clinic.journal, "PID-7")
    assert found.left_out == (("1.1.2", "no_values"),)


def test_an_unknown_patient_is_an_error_that_does_not_name_it(clinic: Clinic) -> None:
    clinic.visit(1, "20250301", content(10.0))
    for text in ("PID-99", "", "1.1.9", "' OR 1=1 --", "PID-_", "%"):
        with pytest.raises(UnknownUid) as raised:
            find_followups(clinic.journal, text)
        assert not text or text not in str(raised.value)
