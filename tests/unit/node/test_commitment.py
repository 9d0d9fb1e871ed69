from __future__ import annotations

import pytest
from pydicom.dataset import Dataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian

from node.commitment import (
    ALL_COMMITTED,
    NO_SUCH_OBJECT,
    PROCESSING_FAILURE,
    SOME_FAILED,
    BadCommitment,
    Reference,
    Request,
    decoded,
    encoded,
    is_uid,
    new_transaction_uid,
    read_report,
    read_request,
    reason_words,
    report_data_set,
    request_data_set,
)

ONE, TWO = Reference("1.2.840.1", "1.2.3"), Reference("1.2.840.2", "1.2.4")
SYNTAXES = pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian])


@SYNTAXES
def test_request_is_read_as_it_was_written(syntax: str) -> None:
    request = Request(new_transaction_uid(), (ONE, TWO))
    assert read_request(decoded(encoded(request_data_set(request), syntax), syntax), 2) == request


@SYNTAXES
def test_report_says_of_each_object_whether_it_is_kept(syntax: str) -> None:
    event, ds = report_data_set("2.25.1", (ONE, TWO), {TWO.sop_instance: NO_SUCH_OBJECT})
    report = read_report(decoded(encoded(ds, syntax), syntax), 2)
    assert event == SOME_FAILED
    assert (report.transaction_uid, report.committed) == ("2.25.1", (ONE.sop_instance,))
    assert report.failed == {TWO.sop_instance: NO_SUCH_OBJECT}


def test_report_without_failures_is_of_the_other_event_type() -> None:
    event, ds = report_data_set("2.25.1", (ONE,), {})
    assert event == ALL_COMMITTED
    assert "FailedSOPSequence" not in ds


def test_object_that_is_in_both_lists_of_a_report_has_failed() -> None:
    _, ds = report_data_set("2.25.1", (ONE, TWO), {TWO.sop_instance: NO_SUCH_OBJECT})
    ds.ReferencedSOPSequence.append(ds.FailedSOPSequence[0])
    report = read_report(ds, 9)
    assert report.committed == (ONE.sop_instance,)
    assert report.failed == {TWO.sop_instance: NO_SUCH_OBJECT}


def test_failure_without_a_reason_is_a_failure() -> None:
    _, ds = report_data_set("2.25.1", (ONE,), {ONE.sop_instance: NO_SUCH_OBJECT})
    del ds.FailedSOPSequence[0].FailureReason
    assert read_report(ds, 9).failed == {ONE.sop_instance: PROCESSING_FAILURE}


def test_more_references_than_are_read_are_refused() -> None:
    with pytest.raises(BadCommitment, match="more than 1 references"):
        read_request(request_data_set(Request("2.25.1", (ONE, TWO))), 1)


@pytest.mark.parametrize("uid", ["", "x", "1.2.", ".1", "1" * 65])
def test_transaction_uid_has_to_be_one(uid: str) -> None:
    ds = Dataset()
    ds.add_new(0x00081195, "UT", uid)
    assert not is_uid(uid)
    with pytest.raises(BadCommitment, match="Transaction UID"):
        read_report(ds, 9)


def test_transaction_uids_are_uids_that_never_repeat() -> None:
    uids = {new_transaction_uid() for _ in range(100)}
    assert len(uids) == 100
    assert all(is_uid(uid) for uid in uids)


def test_reason_is_a_code_with_its_meaning() -> None:
    assert reason_words(0x0112) == "0x0112, no such object instance"
    assert reason_words(0x0999) == "0x0999"
