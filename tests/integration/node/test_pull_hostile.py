"""What a hostile PACS sends to a pull is bounded: nothing of it is kept that was not asked for, and the node lives on."""

from __future__ import annotations

import itertools
import time
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from node.config.pull import DicomSource, DicomwebSource
from node.journal.pulls import PullState
from node.pull import dicom, dicom_inquiry, dicomweb
from node.pull.port import MOST_FOREIGN
from tests.support.hostile_archive import (
    Answers,
    archive,
    body_of,
    item,
    listing,
    match,
    part_of,
    web_archive,
)
from tests.support.mr_series import WriteSeries
from tests.support.pulling import puller

pytestmark = [pytest.mark.servers, pytest.mark.slow]

STUDY, SERIES = "1.2.1", "1.2.3"
UID = f"{SERIES}.1"


@pytest.fixture
def image(tmp_path: Path, write_series: WriteSeries) -> Dataset:
    return dcmread(write_series(tmp_path / "in", slices=1)[0])


def _get(port: int) -> DicomSource:
    return DicomSource(
        name="archive", kind="dicom-get", ae_title="PACS", host="127.0.0.1", port=port,
        timeout_seconds=5.0,
    )  # fmt: skip


def _web(url: str) -> DicomwebSource:
    return DicomwebSource(name="archive", kind="dicomweb", url=url, timeout_seconds=2.0)


def _changed(image: Dataset, **values: Any) -> Dataset:
    changed = deepcopy(image)
    for keyword, value in values.items():
        setattr(changed, keyword, value)
    changed.file_meta.MediaStorageSOPInstanceUID = changed.SOPInstanceUID
    return changed


# ---- C-FIND --------------------------------------------------------------------------------------


def test_answers_without_end_are_ended(listen: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dicom_inquiry, "MOST_SERIES", 20)
    endless = (match(SeriesInstanceUID=f"1.2.{n}", Modality="MR") for n in itertools.count())
    with archive(Answers(lambda _: endless)) as port:
        row = puller(listen(), _get(port)).pull(STUDY)
    assert row.state is PullState.WAITING
    assert "more than 20 matches" in row.reason


@pytest.mark.filterwarnings("ignore::UserWarning")  # of pydicom, as in service
def test_answers_about_others_and_broken_uids_are_left_out(listen: Any) -> None:
    def find(query: Dataset) -> list[Dataset]:
        if query.QueryRetrieveLevel == "SERIES":
            return [
                match(StudyInstanceUID="1.9", SeriesInstanceUID="1.9.1", Modality="MR"),
                match(SeriesInstanceUID="../../etc", Modality="MR"),
                match(SeriesInstanceUID="1.2.\\*", Modality="MR"),
            ]
        return [match(SOPInstanceUID=UID)]

    node = listen()
    with archive(Answers(find)) as port:
        row = puller(node, _get(port)).pull(STUDY)
    assert row.reason == "the source does not have this study"


def test_a_refused_query_is_tried_again_later(listen: Any) -> None:
    node = listen()
    with archive(Answers(lambda _: [], status=0xA700)) as port:
        row = puller(node, _get(port)).pull(STUDY)
    assert (row.state, row.tries) == (PullState.WAITING, 1)
    assert "0xA700" in row.reason
    (waits,) = node.events("PullWaits")
    assert waits["wait_s"] >= 30


# ---- C-GET ---------------------------------------------------------------------------------------


def test_objects_that_were_not_asked_for_are_refused(listen: Any, image: Dataset) -> None:
    sent = [_changed(image, SOPInstanceUID=f"1.2.66.{n}") for n in range(MOST_FOREIGN + 10)]
    node = listen()
    with archive(Answers(listing(STUDY, SERIES, UID), lambda: sent)) as port:
        pulling = puller(node, _get(port))
        row = pulling.pull(STUDY)
    assert pulling.received == []
    assert (row.state, row.missing) == (PullState.WAITING, 1)
    assert "not asked for" in row.reason


def test_an_object_of_another_study_under_a_wanted_uid_is_refused(
    listen: Any, image: Dataset
) -> None:
    node = listen()
    wrong = _changed(image, StudyInstanceUID="1.2.666")
    with archive(Answers(listing(STUDY, SERIES, UID), lambda: [wrong])) as port:
        pulling = puller(node, _get(port))
        row = pulling.pull(STUDY)
    assert pulling.received == []
    assert "another study" in row.reason
    assert not [f for f in node.files() if f.suffix == ".part"]


def test_an_object_above_the_limit_is_refused_and_the_others_come(
    listen: Any, image: Dataset
) -> None:
    node = listen(max_object_mb=1)
    large = _changed(image, SOPInstanceUID=f"{SERIES}.2", PixelData=bytes(2_000_000))
    with archive(
        Answers(listing(STUDY, SERIES, UID, f"{SERIES}.2"), lambda: [large, image])
    ) as port:
        pulling = puller(node, _get(port), changes={"receive": node.receiver.config})
        row = pulling.pull(STUDY)
    assert pulling.received == [UID]
    assert (row.pulled, row.missing) == (1, 1)
    assert "max_object_mb" in row.reason


def test_a_message_without_end_ends_the_association(
    listen: Any, image: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dicom, "MOST_ANSWER_BYTES", 1_000_000)
    node = listen(max_object_mb=1)
    endless = _changed(image, PixelData=bytes(20_000_000))
    with archive(Answers(listing(STUDY, SERIES, UID), lambda: [endless])) as port:
        pulling = puller(node, _get(port), changes={"receive": node.receiver.config})
        row = pulling.pull(STUDY)
    assert pulling.received == []
    assert "in one go" in row.reason


def test_an_unreadable_object_is_quarantined_and_not_asked_for_again(
    listen: Any, image: Dataset
) -> None:
    node = listen()
    del image.SeriesInstanceUID
    with archive(Answers(listing(STUDY, SERIES, UID), lambda: [image])) as port:
        pulling = puller(node, _get(port))
        row = pulling.pull(STUDY)
        assert row.state is PullState.DONE
        assert pulling.pull(STUDY).state is PullState.NOTHING
    assert len(node.journal.instances.quarantined()) == 1


def test_nothing_is_fetched_without_room_on_the_disk(listen: Any, image: Dataset) -> None:
    node = listen(free=lambda: 1)
    with archive(Answers(listing(STUDY, SERIES, UID), lambda: [image])) as port:
        row = puller(node, _get(port)).pull(STUDY)
    assert "MB free on the disk" in row.reason


def test_a_source_that_is_away_costs_patience_and_is_given_up(listen: Any) -> None:
    node = listen()
    pulling = puller(node, _get(9), changes=None)
    row = pulling.pull(STUDY)
    assert (row.state, row.tries) == (PullState.WAITING, 1)
    assert "does not respond" in row.reason
    node.journal.pulls.defer(row, row.reason, 1e9)
    with node.journal.database.transaction() as tx:
        tx.execute("UPDATE pull SET try_at = 0")
    pulling.step.run_once()
    row = node.journal.pulls.in_states(PullState.FAILED)[0]
    assert "tried for" in row.reason


# ---- DICOMweb ------------------------------------------------------------------------------------


def _query(path: str) -> list[dict[str, Any]]:
    if path.endswith("/series"):
        return [item(_0020000E=SERIES, _00080060="MR")]
    return [item(_00080018=UID)]


def test_a_part_that_was_not_asked_for_is_passed_over(listen: Any, image: Dataset) -> None:
    node = listen()
    other = part_of(_changed(image, SOPInstanceUID="1.2.66.1"))
    body = body_of(b"<html>not DICOM</html>", other, part_of(image))
    with web_archive(_query, lambda write: write(body)) as url:
        pulling = puller(node, _web(url))
        row = pulling.pull(STUDY)
    assert pulling.received == [UID]
    assert row.state is PullState.DONE


def test_a_part_without_end_is_ended(listen: Any, image: Dataset) -> None:
    node = listen(max_object_mb=1)
    start = b"--b\r\n\r\n" + part_of(image)

    def endless(write: Any) -> None:
        write(start)
        while True:
            write(bytes(1 << 20))

    with web_archive(_query, endless) as url:
        pulling = puller(node, _web(url))
        row = pulling.pull(STUDY)
    assert pulling.received == []
    assert row.state is PullState.WAITING
    assert "longer than an object may be" in row.reason or "max_object_mb" in row.reason


@pytest.mark.parametrize(
    ("headers", "said"),
    [
        ({"Content-Type": "text/html"}, "no boundary"),
        ({"Content-Encoding": "gzip"}, "compresses"),
    ],
)
def test_what_is_no_answer_to_wado_is_refused(
    headers: dict[str, str], said: str, listen: Any, image: Dataset
) -> None:
    node = listen()
    with web_archive(_query, lambda write: write(body_of(part_of(image))), headers) as url:
        row = puller(node, _web(url)).pull(STUDY)
    assert said in row.reason


def test_a_trickle_ends_at_the_time_limit(
    listen: Any, image: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dicomweb, "FETCH_S", 1.0)

    def trickle(write: Any) -> None:
        for byte in part_of(image):
            write(bytes([byte]))
            time.sleep(0.2)

    began = time.monotonic()
    with web_archive(_query, trickle) as url:
        row = puller(listen(), _web(url)).pull(STUDY)
    assert "was not ready within 1 s" in row.reason
    assert time.monotonic() - began < 20
