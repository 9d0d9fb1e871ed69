"""A follow-up goes to each destination in the objects of the kinds that it takes, and is taken back as a result is."""

from __future__ import annotations

from io import BytesIO

import pytest
from pydicom import dcmread

from node.config.profiles import PROFILES, ProfileName, followup_files
from node.deliver.memory import InMemory
from node.deliver.step import WITHDRAWALS_S
from node.journal.requests import Seen
from node.journal.rows import SeriesKey
from node.journal.states import DeliveryState
from node.store.layout import StateDirectory
from tests.support.deliveries import deliver_step
from tests.support.followups import Site


@pytest.fixture
def key(followup_site: Site) -> SeriesKey:
    """The newest of two studies, with a follow-up; its result has no files to send."""
    followup_site.visit(1, "20250301", 10.0)
    newest = followup_site.visit(2, "20260301", 12.0)
    followup_site.restart(language="en")
    assert followup_site.look() == 1
    with followup_site.journal.database.transaction() as tx:
        tx.execute(
            "DELETE FROM event WHERE delivery_id IN (SELECT id FROM delivery WHERE result_id IN (SELECT result_id FROM result WHERE inputs = '[]'))"
        )
        tx.execute(
            "DELETE FROM delivery WHERE result_id IN (SELECT result_id FROM result WHERE inputs = '[]')"
        )
    return newest


@pytest.mark.parametrize(
    ("profile", "names"),
    [
        ("dicom-viewer", ["followup.dcm", "followup_page.dcm", "followup_report.dcm"]),
        ("weasis", ["followup.dcm", "followup_page.dcm", "followup_report.dcm"]),
        ("archive-only", ["followup.dcm", "followup_report.dcm"]),
        ("images-only", ["followup_page.dcm", "followup_report.dcm"]),
    ],
)
def test_each_profile_gets_its_kinds(
    followup_site: Site, key: SeriesKey, profile: ProfileName, names: list[str]
) -> None:
    assert sorted(followup_files(PROFILES[profile])) == names
    peer = InMemory("pacs")
    step = deliver_step(
        followup_site.journal, followup_site.clock, peer, profile=profile, objects=()
    )
    step.state = StateDirectory(followup_site.clinic.state)
    step.run_once()
    assert sorted(name.partition("/")[2] for name in peer.held) == names
    (row,) = followup_site.journal.deliveries.of_series(key)
    assert (row.state, row.is_followup) == (DeliveryState.CONFIRMED, True)
    assert followup_site.journal.series.get(key).state == "encoded"  # its result was not delivered


def test_a_person_takes_a_follow_up_back(followup_site: Site, key: SeriesKey) -> None:
    peer = InMemory("pacs")
    step = deliver_step(
        followup_site.journal,
        followup_site.clock,
        peer,
        withdraw=True,
        objects=("measurements.dcm",),
    )
    step.state = StateDirectory(followup_site.clinic.state)
    step.run_once()
    (made,) = followup_site.followups(key)
    series = followup_site.journal.series.get(key)
    seen = Seen(series.id, followup_site.journal.paging.newest_event(series.id), "olga")
    assert followup_site.journal.requests.withdraw(seen, made.result_id) == 1
    for _ in range(3):
        step.run_once()
        followup_site.clock.pass_s(WITHDRAWALS_S)
    (note,) = [content for name, content in peer.held.items() if name.endswith("rejection.dcm")]
    held = dcmread(BytesIO(note)).CurrentRequestedProcedureEvidenceSequence[0]
    (rejected,) = [
        str(i.ReferencedSOPInstanceUID)
        for s in held.ReferencedSeriesSequence
        for i in s.ReferencedSOPSequence
    ]
    assert rejected == str(dcmread(made.folder / "followup.dcm").SOPInstanceUID)
    assert followup_site.journal.series.get(key).forced == 0  # its result stays as it is
    assert followup_site.look(5) == 0  # and it is not made again


def test_a_new_journal_sends_it_again_and_makes_no_other(
    followup_site: Site, key: SeriesKey
) -> None:
    with followup_site.journal.database.transaction() as tx:
        tx.execute("DELETE FROM event WHERE delivery_id IS NOT NULL")
        tx.execute("DELETE FROM delivery")
    followup_site.restart()
    assert followup_site.look(5) == 0
    (made,) = followup_site.followups(key)
    assert [(d.result_id, d.state) for d in followup_site.journal.deliveries.of_series(key)] == [
        (made.result_id, "pending")
    ]
