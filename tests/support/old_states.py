"""State directories as earlier versions left them: for every version of the journal its rows and files of that time.

One table of rows says what a node held; a version gets the tables and columns that its migrations made.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from dicomseg.read import parsing
from node.journal.migrate import migrations
from node.store.layout import StateDirectory
from node.store.spool import file_meta

VERSIONS: Final = tuple(number for number, _ in migrations())
ABSOLUTE_PATHS: Final = 1
"""Last version of the journal whose rows held absolute paths."""
DIGEST_NAMES: Final = 2
"""Last version of the journal whose files in the spool were named by their digest alone."""
FILES: Final = ("seg.dcm", "measurements.dcm", "volumes.dcm", "midplane.dcm")
"""Objects of a result of 0.1.0."""

RECEIVING, SELECTED, PROCESSING, ENCODED, DELIVERED, SKIPPED, FAILED, INCOMPLETE = range(1, 9)
"""Series of the state directory, by their row."""
STATES: Final[Mapping[int, str]] = {
    RECEIVING: "receiving", SELECTED: "selected", PROCESSING: "processing", ENCODED: "encoded",
    DELIVERED: "delivered", SKIPPED: "skipped", FAILED: "failed", INCOMPLETE: "incomplete",
}  # fmt: skip
REASONS: Final[Mapping[int, str]] = {
    SKIPPED: "not a 3D T2 SPACE acquisition: TE 55 ms is below 60 ms",
    FAILED: "worker died 3 times",
    INCOMPLETE: "received 2 of 64 slices",
}
MR: Final = "1.2.840.10008.5.1.4.1.1.4"
EXPLICIT: Final = "1.2.840.10008.1.2.1"


@dataclass(frozen=True, slots=True)
class Old:
    """A state directory of an earlier version, and what is in it."""

    directory: StateDirectory
    version: int

    @property
    def root(self) -> Path:
        return self.directory.root

    def path(self, file: Path) -> str:
        """How a row of this version names a file."""
        return str(file) if self.version <= ABSOLUTE_PATHS else str(file.relative_to(self.root))


def study_uid(series: int) -> str:
    """Return the study of a series of the state directory."""
    return f"1.2.{series}"


def series_uid(series: int) -> str:
    """Return the UID of a series of the state directory."""
    return f"1.2.{series}.3"


def result_uid(series: int) -> str:
    """Return the result of a series that has one."""
    return f"2.25.{series}"


def old_state(
    root: Path, version: int, objects: Mapping[int, Sequence[Path]], unreadable: bytes = b"nonsense"
) -> Old:
    """Write the state directory of a version.

    objects: Part 10 files of each series, which carry `study_uid` and `series_uid`. unreadable: a quarantined object.
    """
    old = Old(StateDirectory(root), version)
    for folder in (old.directory.spool, old.directory.quarantine, old.directory.results):
        folder.mkdir(parents=True, mode=0o700)
    with closing(sqlite3.connect(old.directory.journal, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = WAL")
        for number, script in migrations()[:version]:
            db.executescript(script)
            db.execute(f"PRAGMA user_version = {number}")
        rows = _Rows(db)
        for series in STATES:
            _series(rows, old, series, objects.get(series, ()))
        _quarantined(rows, old, unreadable)
        _further(rows)
    return old


class _Rows:
    """Inserts rows; what the version has no table or column for is left out."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self.db = db
        tables = [r[0] for r in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        self.columns = {t: {r[1] for r in db.execute(f"PRAGMA table_info({t})")} for t in tables}

    def add(self, table: str, **values: Any) -> None:
        kept = {k: v for k, v in values.items() if k in self.columns.get(table, ())}
        if kept:
            marks = ", ".join(f":{k}" for k in kept)
            self.db.execute(f"INSERT INTO {table} ({', '.join(kept)}) VALUES ({marks})", kept)  # noqa: S608


def _series(rows: _Rows, old: Old, number: int, objects: Sequence[Path]) -> None:
    at, state = 1_000_000.0 + number, STATES[number]
    rows.add(
        "series", id=number, study=study_uid(number), series=series_uid(number), state=state,
        reason=REASONS.get(number, ""), instances=len(objects), first_at=at, last_at=at, state_at=at,
        token="w1.7.1/1" if number == PROCESSING else None, token_at=at, attempts=int(number == PROCESSING),
        fault="No space left on device" if number == SELECTED else "", fault_step="work", fault_tries=2,
        fault_at=at, try_at=at + 60,
    )  # fmt: skip
    for path in objects:
        raw = path.read_bytes()
        digest = hashlib.sha256(raw[parsing.split_file_meta(raw)[0] :]).hexdigest()
        syntax = hashlib.sha256(EXPLICIT.encode()).hexdigest()[:8]
        name = digest if old.version <= DIGEST_NAMES else f"{digest}-{syntax}"
        kept = old.directory.spool / digest[:2] / f"{name}.dcm"
        kept.parent.mkdir(exist_ok=True, mode=0o700)
        kept.write_bytes(raw)
        rows.add(
            "instance", sop_instance=path.stem, digest=digest, series_id=number, sop_class=MR,
            transfer_syntax=EXPLICIT, path=old.path(kept), bytes=len(raw), calling_ae="MR1", state="stored",
            received_at=at,
        )  # fmt: skip
        rows.add("event", at=at, series_id=number, event="instance_stored", state="receiving", detail=json.dumps({"sop_instance": path.stem}))  # fmt: skip
    if state != "receiving":
        rows.add("event", at=at + 1, series_id=number, event="geometry_complete", state="complete", detail="{}")  # fmt: skip
    if number in (ENCODED, DELIVERED):
        _result(rows, old, number, at)


def _result(rows: _Rows, old: Old, number: int, at: float) -> None:
    """A result with one delivery: open, or confirmed."""
    uid, is_open = result_uid(number), number == ENCODED
    folder = old.directory.results / uid
    folder.mkdir(mode=0o700)
    listed = []
    for name in FILES:
        content = f"{name} of {uid}".encode()
        (folder / name).write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        listed.append({"file": name, "bytes": len(content), "sha256": digest})
    (folder / "result.json").write_text(json.dumps({"objects": listed}))
    rows.add("result", result_id=uid, series_id=number, folder=old.path(folder), model_digest="m", attempt=0, created_at=at)  # fmt: skip
    rows.add(
        "delivery", id=number, result_id=uid, destination="out", state="waiting" if is_open else "confirmed",
        tries=3, next_try_at=at + 60 if is_open else None, detail="no answer" if is_open else "", state_at=at,
        proof="" if is_open else "stored", waited_s=60.0,
    )  # fmt: skip
    rows.add("event", at=at + 2, series_id=number, event="results_published", state="encoded", detail=json.dumps({"result": uid}))  # fmt: skip
    # Of a version that counted tries: the event is not one of today's.
    said = "transient_failure" if is_open else "no_proof_offered"
    for event in ("tries_exhausted", "retry_requested", said):
        rows.add("event", at=at + 3, series_id=number, delivery_id=number, event=event, state="waiting" if is_open else "confirmed", detail='{"reason": "no answer"}')  # fmt: skip
    if not is_open:
        rows.add("event", at=at + 4, series_id=number, event="all_confirmed", state="delivered", detail="{}")  # fmt: skip


def _quarantined(rows: _Rows, old: Old, content: bytes) -> None:
    digest = hashlib.sha256(content).hexdigest()
    kept = old.directory.quarantine / digest[:2] / f"{digest}.dcm"
    kept.parent.mkdir(mode=0o700)
    size = kept.write_bytes(file_meta(MR, "1.2.99", EXPLICIT, "MR1") + content)
    rows.add(
        "instance", sop_instance="1.2.99", digest=digest, series_id=None, sop_class=MR, transfer_syntax=EXPLICIT,
        path=old.path(kept), bytes=size, calling_ae="MR1", state="quarantined", reason="not readable",
        received_at=1_000_000.0,
    )  # fmt: skip


def _further(rows: _Rows) -> None:
    """What later versions hold besides: jobs, promotions, storage commitments."""
    at = 1_000_100.0
    plan = json.dumps({"data": "/d", "held_out": "/h"})
    rows.add("job", id=1, state="rejected", reason="Dice of artery is 0.04 lower", asked_by="MEIER", plan=plan, created_at=at, state_at=at)  # fmt: skip
    rows.add("job_event", at=at, job_id=1, event="comparison_failed", state="rejected", detail="{}")  # fmt: skip
    rows.add("promotion", at=at, event="promoted", folder="", name="lumbar-l45", version="0.9.0", digest="d", replaced="c", asked_by="MEIER", reason="better")  # fmt: skip
    rows.add("commitment", transaction_uid="2.25.77", delivery_id=DELIVERED, state="done", asked_at=at, objects="{}")  # fmt: skip
    rows.add("commitment_request", transaction_uid="2.25.78", calling_ae="MR1", address="127.0.0.1", state="reported", asked_at=at, objects="[]", try_at=at, set_at=at)  # fmt: skip
