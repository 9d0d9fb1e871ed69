"""`doctor`: every file that is not what was received or written is a finding, and nothing ends it."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from node.journal.journal import Journal
from node.journal.rows import NewInstance, ResultRow
from node.journal.states import DeliveryEvent, SeriesEvent
from node.observe.doctor import Check, Finding, examine
from node.observe.explain import why
from node.store.lock import locked
from node.store.spool import Spool, data_set_digest
from tests.support.mr_series import KEY

E = SeriesEvent
FILES = {"seg.dcm": b"segments", "measurements.dcm": b"values"}
SURFACE = "surfaces/l4.stl"


@pytest.fixture
def state(tmp_path: Path) -> Path:
    Spool(tmp_path / "state")
    (tmp_path / "state").chmod(0o700)
    return tmp_path / "state"


@pytest.fixture
def lived(state: Path, clock: Any, write_series: Any, tmp_path: Path) -> Iterator[Journal]:
    """A journal with a series of three objects and its result, delivered."""
    journal = Journal.open(state / "journal.sqlite", clock)
    for number, path in enumerate(write_series(tmp_path / "in", slices=3), 1):
        kept = state / "spool" / f"{number}.dcm"
        kept.write_bytes(path.read_bytes())
        uid, size = f"1.2.3.{number}", kept.stat().st_size
        facts = NewInstance(
            uid, "1.2", *KEY, data_set_digest(kept), "1.2.840.10008.1.2.1", kept, size
        )
        journal.instances.add(facts)
    journal.series.advance(KEY, E.GEOMETRY_COMPLETE)
    journal.series.advance(KEY, E.RULES_ACCEPT)
    journal.series.claim("w/1")
    folder = state / "results" / "r1"
    folder.mkdir()
    for name, content in FILES.items():
        (folder / name).write_bytes(content)
    objects = [
        {"file": n, "bytes": len(c), "sha256": hashlib.sha256(c).hexdigest()}
        for n, c in FILES.items()
    ]
    (folder / "surfaces").mkdir(mode=0o700)
    (folder / SURFACE).write_bytes(b"triangles")
    digest = hashlib.sha256(b"triangles").hexdigest()
    further = [{"file": SURFACE, "bytes": 9, "sha256": digest}]
    (folder / "result.json").write_text(json.dumps({"objects": objects, "files": further}))
    journal.results.publish(KEY, "w/1", ResultRow("r1", folder, "m"), ["pacs"])
    (delivery,) = journal.deliveries.of_series(KEY)
    journal.deliveries.advance(delivery.id, DeliveryEvent.PEER_ACCEPTED)
    journal.deliveries.advance(delivery.id, DeliveryEvent.PROOF_FOUND)
    yield journal
    journal.close()


def _findings(journal: Journal, state: Path, *, quick: bool = False) -> list[Finding]:
    return examine(journal, Check(state, quick))


def test_node_in_order_has_no_finding(lived: Journal, state: Path) -> None:
    assert _findings(lived, state) == []


def test_incomplete_series_is_no_fault_of_the_node(lived: Journal, state: Path) -> None:
    lived.request_retry(KEY.series)
    lived.series.advance(KEY, E.RULES_ACCEPT)
    lived.series.claim("w/2")
    lived.series.advance(KEY, E.REFUSED, detail={"reason": "shear"})
    assert _findings(lived, state) == []


def test_dead_delivery_is_found_and_a_waiting_one_is_not(
    lived: Journal, state: Path, clock: Any
) -> None:
    lived.request_retry(KEY.series, force=True)
    lived.series.advance(KEY, E.RULES_ACCEPT)
    lived.series.claim("w/2")
    folder = state / "results" / "r2"
    (state / "results" / "r1").rename(folder)
    (state / "results" / "r1").symlink_to(folder)
    lived.results.publish(KEY, "w/2", ResultRow("r2", folder, "m", 1), ["pacs", "web"])
    _, pacs, web = lived.deliveries.of_series(KEY)
    detail = {"reason": "seg.dcm: 0xA900"}
    lived.deliveries.advance(pacs.id, DeliveryEvent.PERMANENT_FAILURE, detail=detail)
    lived.deliveries.advance(
        web.id, DeliveryEvent.TRANSIENT_FAILURE, detail=detail, next_try_at=clock() + 60
    )
    findings = [f for f in _findings(lived, state) if f.kind.startswith("delivery")]
    assert [(f.kind, f.path, f.count) for f in findings] == [("delivery-dead", "pacs", 1)]
    assert findings[0].remedy == "seg.dcm: 0xA900; `lumbar-node retry UID` sends it again"


def _flip(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[-1] ^= 1
    path.write_bytes(raw)


def _folder_in_its_place(path: Path) -> None:
    path.unlink()
    path.mkdir()


def _cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-2])


DAMAGE: dict[str, tuple[Callable[[Path], None], str, str]] = {
    "gone": (Path.unlink, "object-missing", "the file is missing"),
    "one bit": (_flip, "object-damaged", "content differs from what was received"),
    "cut": (_cut, "object-damaged", "bytes, "),
    "empty": (lambda p: p.write_bytes(b"") and None, "object-damaged", "0 bytes, "),
    "a folder": (_folder_in_its_place, "object-damaged", ""),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_object_that_is_not_what_was_received_is_found(
    lived: Journal, state: Path, what: str
) -> None:
    damage, kind, reason = DAMAGE[what]
    damage(state / "spool" / "2.dcm")
    (found,) = _findings(lived, state)
    assert (found.kind, found.path, found.count) == (kind, str(state / "spool" / "2.dcm"), 1)
    assert reason in found.remedy
    assert found.remedy.endswith("send series 1.2.3 again")


def test_objects_of_one_series_are_one_finding(lived: Journal, state: Path) -> None:
    for number in (1, 2, 3):
        _flip(state / "spool" / f"{number}.dcm")
    (found,) = _findings(lived, state)
    assert (found.kind, found.count) == ("object-damaged", 3)
    assert _findings(lived, state, quick=True) == []


def _write(folder: Path, text: str) -> None:
    (folder / "result.json").write_text(text)


def _no_objects(folder: Path) -> None:
    (folder / "result.json").write_text("{}")


def _odd_objects(folder: Path) -> None:
    (folder / "result.json").write_text('{"objects": [7, {"file": "../../journal.sqlite"}, {}]}')


RESULTS: dict[str, tuple[Callable[[Path], None], str]] = {
    "a file is gone": (lambda f: (f / "seg.dcm").unlink(), "seg.dcm is missing"),
    "a file is empty": (
        lambda f: (f / "seg.dcm").write_bytes(b"") and None,
        "seg.dcm has 0 bytes, 8 were written",
    ),
    "a surface is gone": (lambda f: (f / SURFACE).unlink(), "surfaces/l4.stl is missing"),
    "a surface differs": (
        lambda f: (f / SURFACE).write_bytes(b"Triangles") and None,
        "surfaces/l4.stl differs from what was written",
    ),
    "files are no list": (
        lambda f: _write(f, '{"objects": [], "files": 1}'),
        "result.json is missing",
    ),
    "one bit": (lambda f: _flip(f / "seg.dcm"), "seg.dcm differs from what was written"),
    "no result.json": (lambda f: (f / "result.json").unlink(), "result.json is missing"),
    "no list of objects": (_no_objects, "result.json is missing"),
    "odd objects": (_odd_objects, "cannot be read"),
    "a list": (lambda f: _write(f, "[1, 2]"), "result.json is missing"),
    "a number": (lambda f: _write(f, "7"), "result.json is missing"),
    "deep": (lambda f: _write(f, "[" * 100_000), "result.json is missing"),
    "no text": (lambda f: (f / "result.json").write_bytes(b"\xff\xfe") and None, "is missing"),
}


@pytest.mark.parametrize("what", RESULTS)
def test_result_that_is_not_what_was_written_is_found(
    lived: Journal, state: Path, what: str
) -> None:
    damage, reason = RESULTS[what]
    damage(state / "results" / "r1")
    assert [w["state"] for w in why(lived, "r1")] == [
        "delivered"
    ]  # the history can be explained all the same
    (found,) = _findings(lived, state)
    assert (found.kind, found.path) == ("result-damaged", str(state / "results" / "r1"))
    assert reason in found.remedy


def test_damaged_result_is_no_finding_any_more_once_another_took_its_place(
    lived: Journal, state: Path
) -> None:
    shutil.rmtree(state / "results" / "r1")
    assert [f.kind for f in _findings(lived, state)] == ["result-missing"]
    lived.request_retry(KEY.series, force=True)
    lived.series.advance(KEY, E.RULES_ACCEPT)
    lived.series.claim("w/2")
    folder = state / "results" / "r2"
    folder.mkdir()
    (folder / "result.json").write_text('{"objects": []}')
    lived.results.publish(KEY, "w/2", ResultRow("r2", folder, "m", 1), ["pacs"])
    assert _findings(lived, state) == []


def test_files_without_a_row_are_one_finding_per_area(lived: Journal, state: Path) -> None:
    for name in ("x.dcm", "y.dcm"):
        (state / "spool" / name).write_bytes(b"x")
    (state / "quarantine" / "z.dcm").write_bytes(b"x")
    (state / "results" / "other").mkdir()
    findings = [(f.kind, f.count) for f in _findings(lived, state)]
    assert findings == [("object-unknown", 2), ("object-unknown", 1), ("result-unknown", 1)]


def test_what_a_running_node_is_writing_is_no_finding(lived: Journal, state: Path) -> None:
    (state / "spool" / "x.part").write_bytes(b"x")
    (state / "spool" / "y.dcm").write_bytes(b"x")
    (state / "results" / ".r2.7.part").mkdir()
    with locked(state):
        assert _findings(lived, state) == []
        os.utime(state / "spool" / "y.dcm", (1, 1))
        assert [f.kind for f in _findings(lived, state)] == ["object-unknown"]
    assert {f.kind for f in _findings(lived, state)} == {"object-unknown", "result-unknown"}


def test_folder_for_every_user_is_found(lived: Journal, state: Path) -> None:
    (state / "journal.sqlite").chmod(0o644)
    assert _findings(lived, state) == []  # no user may enter the folder above it
    state.chmod(0o755)
    findings = [f for f in _findings(lived, state) if "-wal" not in f.path and "-shm" not in f.path]
    assert [(f.kind, Path(f.path).name) for f in findings] == [
        ("permissions", "state"), ("permissions", "journal.sqlite"),
    ]  # fmt: skip


def test_blocked_and_quarantined_rows_are_named_by_reason(
    lived: Journal, state: Path, clock: Any
) -> None:
    lived.series.defer(KEY, "deliver", "OSError: Input/output error", clock() + 60)
    kept = state / "quarantine" / "q.dcm"
    kept.write_bytes((state / "spool" / "1.dcm").read_bytes())
    facts = NewInstance("", "1.2", "", "", data_set_digest(kept), "", kept, kept.stat().st_size)
    for number in range(64):
        uid = f"1.2.9.{number}"
        lived.instances.quarantine(
            replace(facts, sop_instance_uid=uid, series_uid="1.2.9"), "no study UID"
        )
    findings = _findings(lived, state)
    assert [(f.kind, f.count, f.path) for f in findings] == [
        ("fault", 1, "deliver"), ("quarantined", 64, "series 1.2.9"),
    ]  # fmt: skip
    assert "Input/output error" in findings[0].remedy
    assert findings[1].remedy.startswith("no study UID; ")


def test_progress_is_told_while_it_looks(
    lived: Journal, state: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.observe.doctor.REPORT_S", -1.0)
    said: list[str] = []
    examine(lived, Check(state, progress=said.append))
    assert said == [
        "1 objects compared", "2 objects compared", "3 objects compared", "1 results compared",
    ]  # fmt: skip
