"""The index of the search: what is read when, what a key is worth, and that a search is answered by an index."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from node.journal.identities import IdentityRow, Unread
from node.journal.journal import Journal
from node.journal.paging import PageFilter
from node.journal.rows import SeriesKey
from node.observe.identity import Identity
from node.observe.identity_index import IdentityKey, IndexStep
from node.observe.series_list import find_by_identity
from tests.support.filled_journal import fill

KEY = IdentityKey(b"k" * 32)
SERIES = SeriesKey("1.2.1", "1.2.3")


def _file(path: Path, patient: str, order: str, day: str = "20260131") -> Path:
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import ExplicitVRLittleEndian

    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = meta.MediaStorageSOPInstanceUID = "1.2"
    ds = FileDataset(path, {}, preamble=b"\0" * 128, file_meta=meta)
    ds.PatientID, ds.AccessionNumber, ds.StudyDate = patient, order, day
    path.parent.mkdir(parents=True, exist_ok=True)
    ds.save_as(path, enforce_file_format=True)
    return path


def _found(journal: Journal, text: str, key: IdentityKey | None = KEY) -> list[str]:
    return [row.key.series for row in find_by_identity(journal, text, key)]


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def journal(state: Path, clock: Any) -> Journal:
    return Journal.open(state / "journal.sqlite", clock)


@pytest.fixture
def step(journal: Journal, state: Path) -> IndexStep:
    (state / "identity.key").write_bytes(KEY.secret)
    return IndexStep(journal, state / "identity.key")


def test_a_series_is_found_by_patient_and_order_and_by_nothing_alike(
    journal: Journal, step: IndexStep, state: Path, facts: Callable[..., Any]
) -> None:
    journal.instances.add(facts(1, path=_file(state / "spool" / "a.dcm", "4711", "26-4711")))
    step.run_once()
    assert _found(journal, "4711") == _found(journal, "26-4711") == ["1.2.3"]
    # By the index alone: the file is not looked into any more.
    (state / "spool" / "a.dcm").unlink()
    assert _found(journal, "4711") == ["1.2.3"]
    for other in ("471", "47111", "4711 ", "26-471", "", "%", "PATIENT"):
        assert _found(journal, other) == [], other
    assert journal.identities.of_day("20260131") == {1}
    assert journal.identities.of_day("20260130") == set()


def test_before_it_was_read_a_series_is_found_by_its_header(
    journal: Journal, state: Path, facts: Callable[..., Any]
) -> None:
    journal.instances.add(facts(1, path=_file(state / "spool" / "a.dcm", "4711", "1")))
    assert _found(journal, "4711") == _found(journal, "4711", None) == ["1.2.3"]
    journal.identities.use(KEY.fingerprint)
    assert _found(journal, "4711") == ["1.2.3"]


def test_no_value_is_in_the_journal_and_one_text_has_two_digests(
    journal: Journal, step: IndexStep, state: Path, facts: Callable[..., Any]
) -> None:
    journal.instances.add(facts(1, path=_file(state / "spool" / "a.dcm", "SAMEVALUE", "SAMEVALUE")))
    step.run_once()
    row = journal.database.query("SELECT * FROM identity").fetchone()
    assert len(row["patient"]) == len(row["accession"]) == 16
    assert row["patient"] != row["accession"]
    content = b"".join(p.read_bytes() for p in state.glob("journal.sqlite*"))
    assert b"SAMEVALUE" not in content
    assert KEY.secret not in content
    assert "kkkk" not in repr(KEY)


def test_a_corrected_header_is_read_again(
    journal: Journal, step: IndexStep, state: Path, facts: Callable[..., Any]
) -> None:
    wrong = facts(1, path=_file(state / "spool" / "a.dcm", "WRONG", "1"))
    journal.instances.add(wrong)
    step.run_once()
    right = facts(1, digest="other", path=_file(state / "spool" / "b.dcm", "RIGHT", "1"))
    assert journal.instances.correct(right) == "corrected"
    assert journal.identities.unread(9) != []
    step.run_once()
    assert journal.overview.sample_files([1])[1].name == "b.dcm"
    assert _found(journal, "RIGHT") == ["1.2.3"]
    assert _found(journal, "WRONG") == []


def test_what_was_read_meanwhile_is_not_written(journal: Journal, facts: Callable[..., Any]) -> None:  # fmt: skip
    journal.instances.add(facts(1))
    (one,) = journal.identities.unread(9)
    journal.instances.set_aside("1.2.3.1", facts(1).digest, "no MR")
    late = KEY.row(one, Identity(patient_id="4711"))
    journal.identities.write([late])
    assert [u.series_id for u in journal.identities.unread(9)] == [1]
    assert journal.identities.find(KEY.patient("4711"), b"") == []


def test_digests_leave_with_the_files(
    journal: Journal, step: IndexStep, state: Path, facts: Callable[..., Any]
) -> None:
    file = _file(state / "spool" / "a.dcm", "4711", "1")
    journal.instances.add(facts(1, path=file))
    step.run_once()
    with journal.database.transaction() as tx:
        tx.execute("UPDATE instance SET state = 'purging'")
    file.unlink()
    journal.purges.end(1)
    step.run_once()
    row = journal.database.query(
        "SELECT patient, accession, study_day, unread FROM identity"
    ).fetchone()
    assert tuple(row) == (None, None, None, 0)
    # And come again with them.
    journal.instances.add(facts(2, path=_file(state / "spool" / "b.dcm", "4711", "1")))
    assert [u.series_id for u in journal.identities.unread(9)] == [1]


def test_another_key_makes_every_digest_anew(
    journal: Journal, step: IndexStep, state: Path, facts: Callable[..., Any]
) -> None:
    journal.instances.add(facts(1, path=_file(state / "spool" / "a.dcm", "4711", "1")))
    step.run_once()
    before = journal.identities.find(KEY.patient("4711"), b"")
    other = IndexStep(journal, state / "other.key")
    other.run_once()
    made = IdentityKey.read(state / "other.key")
    assert made is not None
    assert (state / "other.key").stat().st_mode & 0o777 == 0o600
    assert len(before) == 1
    assert journal.identities.find(KEY.patient("4711"), b"") == []
    assert _found(journal, "4711", made) == _found(journal, "4711", KEY) == ["1.2.3"]
    assert IdentityKey.made(state / "other.key") == made


@pytest.mark.parametrize("content", [b"", b"short", b"x" * 33])
def test_a_key_that_is_cut_off_is_none(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "identity.key"
    path.write_bytes(content)
    assert IdentityKey.read(path) is None
    assert len(IdentityKey.made(path).secret) == 32


@pytest.mark.parametrize(
    "day", ["", "2026", "20261301", "20260132", "00000000", "2026.01.01", "20260131x"]
)
def test_a_date_that_is_none_is_left_out(day: str) -> None:
    assert KEY.row(Unread(1, 1), Identity(study_date=day)).study_day is None
    assert KEY.row(Unread(1, 1), Identity(study_date="20260131")).study_day == "20260131"


def test_among_very_many_a_search_and_a_day_are_answered_by_an_index(tmp_path: Path) -> None:
    number = 20_000
    journal = fill(tmp_path / "journal.sqlite", number, 0)
    rows = [
        IdentityRow(n, 1, KEY.patient(f"P{n // 4}"), KEY.accession(f"A{n}"), f"2026{n % 12 + 1:02}{n % 28 + 1:02}")
        for n in range(1, number + 1)
    ]  # fmt: skip
    journal.identities.use(KEY.fingerprint)
    with journal.database.transaction() as tx:
        tx.execute("UPDATE identity SET unread = 1")
    journal.identities.write(rows)
    assert [r.id for r in find_by_identity(journal, "P10", KEY)] == [43, 42, 41, 40]
    assert [r.id for r in find_by_identity(journal, "A17000", KEY)] == [17000]
    wanted = PageFilter(study_day="20260404")
    page = journal.paging.page(wanted, None, 7)
    assert [r.id % 12 + 1 for r in page] == [4] * 7
    assert [r.last_at for r in page] == sorted((r.last_at for r in page), reverse=True)
    asked: list[str] = []
    journal.database.connection.set_trace_callback(asked.append)
    find_by_identity(journal, "P10", KEY)
    journal.paging.page(wanted, None, 7)
    journal.identities.unread(9)
    journal.database.connection.set_trace_callback(None)
    assert len(asked) > 4
    for sql in asked:
        plan = [r["detail"] for r in journal.database.query(f"EXPLAIN QUERY PLAN {sql}")]
        assert not [p for p in plan if re.match("SCAN (series|identity$)", p)], (sql, plan)
    began = time.perf_counter()
    for n in range(50):
        find_by_identity(journal, f"P{n * 90}", KEY)
    assert (time.perf_counter() - began) / 50 < 0.02
