"""Files without a row at the start, and a journal made new from files."""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import zlib
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from dicomseg.read import header as headers
from dicomseg.read import parsing
from node.cli.app import run
from node.journal.instances import CONFLICT, InstanceTable
from node.journal.job_rows import JobPlan, Promotion
from node.journal.journal import Journal
from node.journal.restore import Restore
from node.journal.rows import NewInstance, ResultRow
from node.journal.states import DeliveryEvent, DeliveryState, SeriesEvent, SeriesState
from node.observe.doctor import Check, examine
from node.receive.rebuild import rebuild
from node.receive.recover import NO_REASON, adopt
from node.sandbox import header_process
from node.store.lock import locked
from node.store.results import withdrawal_bytes
from node.store.spool import Spool, data_set_digest
from tests.support.mr_series import KEY

pytestmark = pytest.mark.usefixtures("headers_in_process")

E = SeriesEvent
TOKEN = "w1.7.1/1"  # noqa: S105 - names a claim


@pytest.fixture
def state(tmp_path: Path) -> Path:
    Spool(tmp_path / "state")
    return tmp_path / "state"


@pytest.fixture
def opened(state: Path, clock: Any) -> Iterator[Journal]:
    journal = Journal.open(state / "journal.sqlite", clock)
    yield journal
    journal.close()


def _put(state: Path, raw: bytes, area: str = "spool", arrived: float = 0.0) -> Path:
    """Lay a Part 10 file where reception does: named by the digest of its data set."""
    try:
        begin = parsing.split_file_meta(raw)[0]
    except ValueError:
        begin = 0
    digest = hashlib.sha256(raw[begin:]).hexdigest()
    path = state / area / digest[:2] / f"{digest}-01234567.dcm"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(raw)
    if arrived:
        os.utime(path, (arrived, arrived))
    return path


def _meta(path: Path, syntax: str) -> bytes:
    ds = dcmread(path)
    ds.file_meta.TransferSyntaxUID = syntax
    buffer = DicomBytesIO()
    write_file_meta_info(buffer, ds.file_meta)
    return b"\0" * 128 + b"DICM" + buffer.getvalue()


def _truncated_deflate(path: Path) -> bytes:
    begin = parsing.split_file_meta(path.read_bytes())[0]
    packed = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = packed.compress(path.read_bytes()[begin:]) + packed.flush()
    return _meta(path, DeflatedExplicitVRLittleEndian) + body[: len(body) // 2]


def _cut_after_the_meta(path: Path) -> bytes:
    return _meta(path, ExplicitVRLittleEndian)


BROKEN = {
    "truncated deflate": _truncated_deflate,
    "no data set": _cut_after_the_meta,
    "empty": lambda _: b"",
    "noise": lambda _: bytes(range(256)) * 9,
    "a preamble and noise": lambda _: b"\0" * 128 + b"DICM" + b"\xff" * 500,
}


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_object_is_set_aside_with_a_row_and_the_others_are_adopted(
    state: Path, opened: Journal, write_series: Any, tmp_path: Path, kind: str
) -> None:
    good = write_series(tmp_path / "in", slices=3)
    (other,) = write_series(tmp_path / "other", series="1.2.7", slices=1)
    _put(state, BROKEN[kind](other))
    stray = state / "spool" / "stray.dcm"  # not named by its digest
    stray.write_bytes(b"\0" * 128 + b"DICM" + kind.encode() * 99)
    for path in good:
        _put(state, path.read_bytes())
    swept = adopt(Spool(state), opened)
    assert (swept.adopted, swept.set_aside, swept.left) == (3, 2, 0)
    assert opened.series.get(KEY).instances == 3
    for row in opened.instances.quarantined():
        assert row.reason.startswith("cannot be read: ")
        assert row.path.is_file()
        assert row.path.is_relative_to(state / "quarantine")
        assert "Test^Node" not in row.reason
        assert row.path.name not in row.reason
    again = adopt(Spool(state), opened)
    assert (again.adopted, again.set_aside, again.left) == (0, 0, 0)
    state.chmod(0o700)
    assert {f.kind for f in examine(opened, Check(state))} == {"quarantined"}


def test_fault_that_nobody_foresaw_is_one_file_s(
    state: Path, opened: Journal, write_series: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    paths = [_put(state, p.read_bytes()) for p in write_series(tmp_path / "in", slices=3)]

    def read(path: Path) -> Any:
        if path.name == paths[0].name:
            raise RuntimeError("Test^Node")
        return headers.read_instance(path)

    monkeypatch.setattr(header_process, "headers", SimpleNamespace(read_instance=read))
    swept = adopt(Spool(state), opened)
    assert (swept.adopted, swept.set_aside) == (2, 1)
    assert [r.reason for r in opened.instances.quarantined()] == [
        "cannot be read: not a complete DICOM object (RuntimeError); send it again"
    ]


def test_file_that_cannot_be_moved_stays_and_ends_nothing(
    state: Path, opened: Journal, write_series: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    for path in write_series(tmp_path / "in", slices=2):
        _put(state, path.read_bytes())
    broken = _put(state, b"noise")

    def refuse(_self: Spool, _path: Path) -> Path:
        raise PermissionError(13, "denied")

    monkeypatch.setattr(Spool, "set_aside", refuse)
    swept = adopt(Spool(state), opened)
    assert (swept.adopted, swept.set_aside, swept.left) == (2, 0, 1)
    assert broken.is_file()


@pytest.mark.slow
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0)])
def test_newest_identity_of_equal_pixels_is_the_one_in_use(
    state: Path, opened: Journal, write_series: Any, tmp_path: Path, order: tuple[int, ...]
) -> None:
    digests = []
    for number, patient in enumerate(("T1", "T2", "T3")):
        (path,) = write_series(tmp_path / patient, slices=1, PatientID=patient)
        kept = _put(state, path.read_bytes(), arrived=1e9 + order[number])
        digests.append(data_set_digest(kept))
    assert adopt(Spool(state), opened).adopted == 3
    newest, middle, oldest = (digests[order.index(n)] for n in (2, 1, 0))
    assert [i.digest for i in opened.instances.of_series(KEY)] == [newest]
    assert {(i.digest, i.superseded_by) for i in opened.instances.unused(KEY)} == {
        (oldest, middle), (middle, newest),
    }  # fmt: skip
    assert opened.series.get(KEY).instances == 1


@pytest.mark.slow
def test_other_pixels_under_a_known_uid_are_set_aside(
    state: Path, opened: Journal, write_series: Any, tmp_path: Path
) -> None:
    for number, pixels in enumerate((bytes(32), bytes(range(32)))):
        (path,) = write_series(tmp_path / str(number), slices=1, PixelData=pixels)
        _put(state, path.read_bytes(), arrived=1e9 + number)
    swept = adopt(Spool(state), opened)
    assert (swept.adopted, swept.set_aside) == (1, 1)
    assert [r.reason for r in opened.instances.quarantined()] == [CONFLICT]


def test_journal_that_breaks_meanwhile_sets_nothing_aside(
    state: Path, opened: Journal, write_series: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    (path,) = write_series(tmp_path / "in", slices=1)
    kept = _put(state, path.read_bytes())

    def broken(*_: Any) -> None:
        error = sqlite3.DatabaseError("database disk image is malformed")
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
        raise error

    monkeypatch.setattr(InstanceTable, "add", broken)
    with pytest.raises(sqlite3.DatabaseError):
        adopt(Spool(state), opened)
    assert kept.is_file()


# ---- a journal made new --------------------------------------------------------------------------


def _facts(path: Path) -> NewInstance:
    one = headers.read_instance(path)
    return NewInstance(
        one.sop_instance_uid, one.sop_class_uid, one.study_uid, one.series_uid, one.digest,
        one.transfer_syntax_uid, path, path.stat().st_size, "MR1",
    )  # fmt: skip


def _result(state: Path, name: str, predecessor: str | None, created: str) -> Path:
    folder = state / "results" / name
    folder.mkdir(parents=True)
    content = {
        "result_id": name, "predecessor": predecessor, "created": created,
        "source": {"study": KEY.study, "series": KEY.series}, "model": {"digest": "m" * 64},
    }  # fmt: skip
    (folder / "result.json").write_text(json.dumps(content))
    return folder


def _publish(journal: Journal, folder: Path, attempt: int) -> None:
    token = f"{TOKEN}{attempt}"
    journal.series.advance(KEY, E.RULES_ACCEPT)
    assert journal.series.claim(token) is not None
    journal.results.publish(KEY, token, ResultRow(folder.name, folder, "m" * 64, attempt), ["pacs"])


@pytest.fixture
def lived(state: Path, clock: Any, write_series: Any, tmp_path: Path) -> Path:
    """A state folder with a series of three objects, two results of it, a quarantined object, a job."""
    journal = Journal.open(state / "journal.sqlite", clock)
    for path in write_series(tmp_path / "in", slices=3):
        journal.instances.add(_facts(_put(state, path.read_bytes())))
    (odd,) = write_series(tmp_path / "odd", slices=1, PatientID="T3")
    apart = _put(state, odd.read_bytes(), "quarantine")
    journal.instances.quarantine(replace(_facts(apart), digest=apart.stem), "why it was odd")
    journal.series.advance(KEY, E.GEOMETRY_COMPLETE)
    _publish(journal, _result(state, "b" * 32, None, "2026-01-02T03:04:05+01:00"), 0)
    journal.request_retry(KEY.series, force=True)
    _publish(journal, _result(state, "a" * 32, "b" * 32, "2026-01-01T03:04:05+01:00"), 1)
    delivery = journal.deliveries.of_series(KEY)[-1]
    journal.deliveries.advance(delivery.id, DeliveryEvent.PEER_ACCEPTED)
    journal.deliveries.advance(delivery.id, DeliveryEvent.PROOF_FOUND)
    journal.jobs.enqueue(JobPlan("cases", "held-out.json"), "MEIER")
    journal.promotions.record(
        Promotion(0, 0, "promoted", state / "models" / "m", "m", "1", "d", "", None, None, "MEIER", "better"),
        0,
    )  # fmt: skip
    journal.close()
    return state


def _check_rebuilt(journal: Journal) -> None:
    row = journal.series.get(KEY)
    assert (row.state, row.instances) == (SeriesState.RECEIVING, 3)
    assert [r.result_id for r in journal.results.of_series(KEY)] == ["b" * 32, "a" * 32]
    assert {r.model_digest for r in journal.results.of_series(KEY)} == {"m" * 64}
    assert [r.superseded_by for r in journal.results.of_series(KEY)] == ["a" * 32, ""]
    (apart,) = journal.instances.quarantined()
    assert apart.series == KEY
    assert apart.path.is_file()


def test_whole_journal_made_new_keeps_what_no_file_says(lived: Path, clock: Any) -> None:
    outcome = rebuild(lived, clock)
    assert (outcome.swept.adopted, outcome.swept.set_aside, outcome.swept.results) == (3, 1, 2)
    assert outcome.former is not None
    assert outcome.former.is_file()
    journal = Journal.reading(lived / "journal.sqlite", clock)
    _check_rebuilt(journal)
    assert [r.reason for r in journal.instances.quarantined()] == ["why it was odd"]
    assert [(r.attempt, r.superseded_because) for r in journal.results.of_series(KEY)] == [
        (0, "newer_input"), (1, ""),
    ]  # fmt: skip
    assert journal.series.get(KEY).forced == 1
    assert [(d.result_id, d.state) for d in journal.deliveries.of_series(KEY)] == [
        ("b" * 32, DeliveryState.DEAD), ("a" * 32, DeliveryState.CONFIRMED),
    ]  # fmt: skip
    assert [j.asked_by for j in journal.jobs.in_states()] == ["MEIER"]
    assert journal.promotions.folder_in_service(None) == lived / "models" / "m"
    journal.close()


@pytest.mark.parametrize("kept", [0, 4096, 20_000], ids=["no database", "first page", "some pages"])
def test_damaged_journal_made_new_finds_objects_and_results(
    lived: Path, clock: Any, kept: int, capsys: Any
) -> None:
    journal = lived / "journal.sqlite"
    raw = journal.read_bytes()
    journal.write_bytes(raw[:kept] + b"\xa5" * (len(raw) - kept))
    config = lived.parent / "config.toml"
    config.write_text(f'[node]\nae_title = "NODE"\nstate = "{lived}"\n')
    assert run(["doctor", "--config", str(config)]) == 2
    assert "doctor --rebuild" in capsys.readouterr().err
    assert run(["doctor", "--rebuild", "--config", str(config)]) == 0
    said = capsys.readouterr().out
    assert "new journal: 3 objects of the spool, 1 in quarantine, 2 results" in said
    made = Journal.reading(journal, clock)
    _check_rebuilt(made)
    if kept < 20_000:
        assert [r.reason for r in made.instances.quarantined()] == [NO_REASON]
    made.close()
    (former,) = (p for p in lived.iterdir() if ".damaged-" in p.name)
    assert former.read_bytes()[kept:] == b"\xa5" * (len(raw) - kept)
    with closing(sqlite3.connect(journal)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


def test_result_that_is_found_again_is_sent_and_not_made_twice(lived: Path, clock: Any) -> None:
    (lived / "journal.sqlite").write_bytes(b"\xa5" * 8192)
    rebuild(lived, clock)
    journal = Journal.open(lived / "journal.sqlite", clock)
    journal.series.advance(KEY, E.GEOMETRY_COMPLETE)
    newest = journal.results.of_series(KEY)[-1]
    _publish(journal, newest.folder, newest.attempt)
    assert [r.result_id for r in journal.results.of_series(KEY)] == ["b" * 32, "a" * 32]
    assert [(d.result_id, d.state) for d in journal.deliveries.of_series(KEY)] == [
        ("a" * 32, DeliveryState.PENDING)
    ]
    journal.close()


@pytest.mark.slow
def test_correction_that_cannot_be_compared_now_is_left_for_the_next_start(
    state: Path, opened: Journal, write_series: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    (first,) = write_series(tmp_path / "first", slices=1)
    (second,) = write_series(tmp_path / "corrected", slices=1, PatientID="T2")
    _put(state, first.read_bytes(), arrived=1e9)
    adopt(Spool(state), opened)
    path = _put(state, second.read_bytes(), arrived=2e9)

    def no_room(_module: str) -> None:
        raise BlockingIOError("no process is left")

    with monkeypatch.context() as patch:
        patch.setattr("node.sandbox.child._start", no_room)
        assert adopt(Spool(state), opened).left == 1
    assert path.exists()
    assert adopt(Spool(state), opened).adopted == 1
    assert [i.path for i in opened.instances.of_series(KEY)] == [path]


@pytest.mark.slow
def test_result_before_a_correction_stays_known_as_that(
    lived: Path, clock: Any, write_series: Any, tmp_path: Path
) -> None:
    (path,) = write_series(tmp_path / "corrected", slices=1, PatientID="T2")
    _put(lived, path.read_bytes(), arrived=3e9)
    (lived / "journal.sqlite").unlink()
    journal = Journal.open(lived / "journal.sqlite", clock)
    adopt(Spool(lived), journal)
    assert [r.superseded_because for r in journal.results.of_series(KEY)] == [
        "corrected_identity",
        "",
    ]
    journal.close()


def test_missing_journal_gets_objects_and_results_back_at_the_start(
    lived: Path, clock: Any
) -> None:
    (lived / "journal.sqlite").unlink()
    journal = Journal.open(lived / "journal.sqlite", clock)
    assert adopt(Spool(lived), journal).results == 2
    _check_rebuilt(journal)
    journal.close()


def test_rebuild_that_is_killed_leaves_the_former_journal(
    lived: Path, clock: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = (lived / "journal.sqlite").read_bytes()

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Restore, "take_over", killed)
        with pytest.raises(KeyboardInterrupt):
            rebuild(lived, clock)
    assert (lived / "journal.sqlite").read_bytes() == before
    outcome = rebuild(lived, clock)
    assert (outcome.swept.adopted, outcome.swept.results, outcome.taken["delivery"]) == (3, 2, 2)
    assert [p.name for p in lived.iterdir() if p.name.startswith(".")] == []


def test_journal_made_new_belongs_to_whom_the_former_did(lived: Path, clock: Any) -> None:
    journal = lived / "journal.sqlite"
    journal.chmod(0o640)
    owner = 65534 if os.geteuid() == 0 else os.geteuid()
    if os.geteuid() == 0:
        os.chown(journal, owner, owner)
    rebuild(lived, clock)
    assert journal.stat().st_uid == owner
    assert journal.stat().st_mode & 0o777 == 0o640


def test_journal_of_a_running_node_is_not_made_new(lived: Path, capsys: Any) -> None:
    config = lived.parent / "config.toml"
    config.write_text(f'[node]\nae_title = "NODE"\nstate = "{lived}"\n')
    before = (lived / "journal.sqlite").read_bytes()
    with locked(lived):
        assert run(["doctor", "--rebuild", "--config", str(config)]) == 2
    assert "another node runs on" in capsys.readouterr().err
    assert (lived / "journal.sqlite").read_bytes() == before


# ---- why results are superseded, from files alone ------------------------------------------------


def _taken_back(lived: Path, result: str, because: str) -> None:
    folder = lived / "withdrawals" / f"note-{result[:4]}"
    folder.mkdir(parents=True)
    (folder / "withdrawal.json").write_bytes(withdrawal_bytes(result, because))


@pytest.mark.parametrize(
    ("result", "because", "expected"),
    [
        ("a" * 32, "withdrawn", ["newer_input", "withdrawn"]),
        ("b" * 32, "withdrawn", ["withdrawn", ""]),
        ("b" * 32, "corrected_identity", ["corrected_identity", ""]),
        ("a" * 32, "newer_input", ["newer_input", ""]),  # what took its place is gone
        ("a" * 32, "nonsense", ["newer_input", ""]),
    ],
)
def test_a_result_that_was_taken_back_is_told_from_a_replaced_one(
    lived: Path, clock: Any, result: str, because: str, expected: list[str]
) -> None:
    (lived / "journal.sqlite").write_bytes(b"\xa5" * 8192)
    _taken_back(lived, result, because)
    rebuild(lived, clock)
    journal = Journal.open(lived / "journal.sqlite", clock)
    assert [r.superseded_because for r in journal.results.of_series(KEY)] == expected
    assert [c.result.result_id for c in journal.results.current(9)] == ["a" * 32] * (
        expected[1] == ""
    )
    journal.close()


def test_follow_ups_are_found_again(lived: Path, clock: Any) -> None:
    for name, before in (("c" * 32, None), ("d" * 32, "c" * 32)):
        folder = _result(lived, name, before, f"2026-01-03T0{3 + bool(before)}:00:00+01:00")
        content = json.loads((folder / "result.json").read_text())
        del content["model"]
        content |= {"kind": "followup", "inputs": ["e" * 32, "a" * 32]}
        (folder / "result.json").write_text(json.dumps(content))
    (lived / "journal.sqlite").write_bytes(b"\xa5" * 8192)
    rebuild(lived, clock)
    journal = Journal.open(lived / "journal.sqlite", clock)
    _check_rebuilt(journal)
    found = [r for r in journal.results.all_of_series(KEY) if r.inputs]
    assert [(r.result_id[0], r.inputs[0][0], r.superseded_because) for r in found] == [
        ("c", "e", "newer_comparison"), ("d", "e", ""),
    ]  # fmt: skip
    journal.close()
