from __future__ import annotations

import json
import os
import signal
import socket
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage
from pynetdicom import AE

from dicomseg.read import header as headers
from dicomseg.read import parsing
from node.config.file import read_config
from node.errors import AlreadyRunning, JournalDamaged, PortBusy, StateRefused
from node.event_log import EventLog
from node.journal.journal import Journal
from node.journal.rows import NewInstance
from node.journal.states import SeriesEvent, SeriesState
from node.receive.recover import adopt
from node.sandbox.headers import HeaderReader
from node.service.loop import Loop
from node.service.service import Node
from node.store.layout import StateDirectory
from node.store.lock import locked
from node.store.spool import Spool
from tests.support.mr_series import KEY
from tests.support.threaded_node import Running, until


@pytest.fixture
def node(threaded_node: Running) -> Running:
    return threaded_node


def _send(port: int, paths: list[Path]) -> None:
    ae = AE(ae_title="SCANNER")
    ae.add_requested_context(MRImageStorage, ExplicitVRLittleEndian)
    assoc = ae.associate("127.0.0.1", port, ae_title="NODE")
    assert assoc.is_established
    assert [assoc.send_c_store(p).Status for p in paths] == [0] * len(paths)
    assoc.release()


def _facts(path: Path) -> NewInstance:
    one = headers.read_instance(path)
    return NewInstance(
        one.sop_instance_uid, one.sop_class_uid, one.study_uid, one.series_uid, one.digest,
        one.transfer_syntax_uid, path, 1,
    )  # fmt: skip


# ---- one node per state folder -------------------------------------------------------------------


def test_second_node_on_a_state_folder_is_refused(tmp_path: Path) -> None:
    with (
        locked(tmp_path / "state"),
        pytest.raises(AlreadyRunning, match="another node runs on"),
        locked(tmp_path / "state"),
    ):
        pass
    with locked(tmp_path / "state"):
        pass


def test_state_that_is_no_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "state").write_text("a file")
    with pytest.raises(StateRefused, match=r"state: File exists"), locked(tmp_path / "state"):
        pass


def test_busy_port_is_refused_before_anything_starts_and_frees_the_folder(node: Running) -> None:
    with socket.create_server(("127.0.0.1", node.port)):
        fresh = Node(read_config(node.path), node.path, EventLog("t", node.log))
        with pytest.raises(PortBusy):
            fresh.serve(threading.Event())
    assert node.events() == ["SpoolSwept"]
    node.start()
    assert node.stop() == 0


# ---- what a kill left over -----------------------------------------------------------------------


def _orphan(spool: Spool, path: Path) -> Path:
    raw = path.read_bytes()
    at = parsing.split_file_meta(raw)[0]
    return _kept(spool, raw[:at], raw[at:])


def _kept(spool: Spool, meta: bytes, data: bytes) -> Path:
    incoming = spool.begin(meta)
    incoming.write(data)
    return spool.put(incoming, ExplicitVRLittleEndian).path


def test_object_killed_between_disk_and_journal_is_adopted(
    tmp_path: Path, write_series: Any, clock: Any
) -> None:
    spool, journal = Spool(tmp_path), Journal.open(tmp_path / "journal.sqlite", clock)
    first, second = write_series(tmp_path / "in", slices=2)
    journal.instances.add(_facts(_orphan(spool, first)))
    path = _orphan(spool, second)
    (path.parent / "half.part").write_bytes(b"half")
    swept = adopt(spool, journal)
    assert (swept.removed_parts, swept.adopted, swept.set_aside) == (1, 1, 0)
    assert journal.series.get(KEY).instances == 2
    assert adopt(spool, journal) == type(swept)(0, 0, 0)
    journal.close()


def test_object_that_nobody_can_read_is_kept_apart(tmp_path: Path, clock: Any) -> None:
    spool, journal = Spool(tmp_path), Journal.open(tmp_path / "journal.sqlite", clock)
    _kept(spool, b"", b"nonsense")
    assert adopt(spool, journal).set_aside == 1
    assert [p.read_bytes() for p in (tmp_path / "quarantine").rglob("*.dcm")] == [b"nonsense"]
    journal.close()


def test_lost_journal_is_built_again_from_the_spool(
    tmp_path: Path, write_series: Any, clock: Any
) -> None:
    spool = Spool(tmp_path)
    for path in write_series(tmp_path / "in", slices=5):
        _orphan(spool, path)
    journal = Journal.open(tmp_path / "journal.sqlite", clock)
    assert adopt(spool, journal).adopted == 5
    assert journal.series.get(KEY).state is SeriesState.RECEIVING
    journal.close()


def test_claim_of_an_earlier_life_is_given_back_at_once(
    node: Running, tmp_path: Path, write_series: Any
) -> None:
    journal = Journal.open(StateDirectory(node.state).journal, time.time)
    for path in write_series(tmp_path / "in"):
        journal.instances.add(_facts(path))
    journal.series.advance(KEY, SeriesEvent.GEOMETRY_COMPLETE)
    journal.series.advance(KEY, SeriesEvent.RULES_ACCEPT)
    # In a container the process ids of every life are the same, and so are the tokens.
    assert journal.series.claim(f"w1.{os.getpid()}.1/1") is not None
    node.start()
    until(lambda: journal.series.get(KEY).state is SeriesState.SELECTED)
    row = journal.series.get(KEY)
    assert (row.reason, row.attempts) == ("the node was restarted", 0)
    node.stop()
    journal.close()


# ---- the life of a node --------------------------------------------------------------------------


def test_series_goes_from_the_wire_to_selected_and_the_node_stops_in_order(
    node: Running, tmp_path: Path, write_series: Any
) -> None:
    node.start()
    _send(node.port, write_series(tmp_path / "in"))
    journal = Journal.open(StateDirectory(node.state).journal, time.time)
    until(lambda: journal.series.get(KEY).state is SeriesState.SELECTED)
    journal.close()
    assert node.stop() == 0
    assert len(node.workers.stopped) == 1
    names = [e for e in node.events() if e.startswith(("Node", "Series", "Assoc"))]
    assert sorted(names[:3]) == ["AssociationEnded", "NodeReady", "NodeStarted"]
    assert names[3:] == ["SeriesTracked", "NodeStopped"]
    assert node.events()[0] == "SpoolSwept"
    assert "Test^Node" not in node.log.getvalue()


def test_probe_of_the_port_does_not_delay_the_stop(node: Running) -> None:
    node.start()
    for _ in range(3):
        socket.create_connection(("127.0.0.1", node.port)).close()
    began = time.monotonic()
    node.stop()
    assert time.monotonic() - began < 2.0


def test_worker_that_refuses_its_model_ends_the_node_with_its_code(node: Running) -> None:
    node.workers.exit_code = 6
    node.start()
    node.thread.join(8)
    assert node.ended == [6]
    assert node.events()[-2:] == ["WorkerRefused", "NodeStopped"]


def test_worker_that_crashes_does_not_end_the_node(node: Running) -> None:
    node.workers.exit_code = -9
    node.start()
    time.sleep(0.3)
    assert node.thread.is_alive()
    assert node.stop() == 0


def test_step_that_fails_is_told_once_and_goes_on(tmp_path: Path, clock: Any) -> None:
    journal, log, stopping = (
        Journal.open(tmp_path / "j.sqlite", clock),
        StringIO(),
        threading.Event(),
    )

    class Faulty:
        rounds = 0

        def run_once(self) -> int:
            self.rounds += 1
            if self.rounds < 4:
                raise RuntimeError("disk")
            return 0

    step = Faulty()
    thread = Loop("x", (step,), stopping, EventLog("t", log).event, journal).start()
    until(lambda: step.rounds >= 5)
    stopping.set()
    thread.join(8)
    (line,) = log.getvalue().splitlines()
    # The text of an error may quote what it was about.
    assert "RuntimeError in test_service.py:" in json.loads(line)["error"]
    assert "disk" not in line
    journal.close()


def test_step_that_fails_for_ever_is_told_once_and_holds_up_no_other(
    tmp_path: Path, clock: Any
) -> None:
    journal = Journal.open(tmp_path / "j.sqlite", clock)
    log, stopping = StringIO(), threading.Event()

    class Counting:
        def __init__(self, broken: bool) -> None:
            self.rounds, self.broken = 0, broken

        def run_once(self) -> int:
            self.rounds += 1
            if self.broken:
                raise RuntimeError
            return 0

    broken, sound = Counting(broken=True), Counting(broken=False)
    thread = Loop("x", (broken, sound), stopping, EventLog("t", log).event, journal).start()
    until(lambda: sound.rounds >= 12)
    stopping.set()
    thread.join(8)
    assert broken.rounds < 6  # ever more slowly
    assert len(log.getvalue().splitlines()) == 1
    journal.close()


_SERVE = """
import sys
from pathlib import Path
from node.config.file import read_config
from node.service import service as supervise
class Workers:
    processes, ready = (), True
    def run_once(self): return 0
    def stop(self, timeout_s): pass
supervise.WorkStep.of = lambda *_: Workers()
path = Path(sys.argv[1])
sys.exit(supervise.serve(read_config(path), path))
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signal_stops_in_order_and_a_second_node_is_told_so(
    node: Running, number: signal.Signals
) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", _SERVE, str(node.path)], stderr=subprocess.PIPE, text=True
    )
    assert child.stderr is not None
    try:
        for line in child.stderr:
            if '"NodeReady"' in line:
                break
        second = subprocess.run(
            [sys.executable, "-m", "node", "serve", "--config", str(node.path)],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert second.returncode == 2
        assert "another node runs on" in second.stderr
        assert len(second.stderr.strip().splitlines()) == 1
        child.send_signal(number)
        assert '"NodeStopped"' in child.stderr.read()
        assert child.wait(8) == 0
    finally:
        child.kill()
        child.wait(8)
        child.stderr.close()


def test_hang_up_opens_the_log_file_again_and_ends_nothing(node: Running, tmp_path: Path) -> None:
    log, moved = tmp_path / "node.log", tmp_path / "node.log.1"
    with log.open("ab") as out:
        child = subprocess.Popen([sys.executable, "-c", _SERVE, str(node.path)], stderr=out)
    try:
        until(lambda: "NodeReady" in log.read_text(), 30)
        log.rename(moved)
        child.send_signal(signal.SIGHUP)
        until(lambda: log.exists() and "HungUp" in log.read_text())
        assert '"reopened": true' in log.read_text()
        assert stat.S_IMODE(log.stat().st_mode) == 0o600
        child.send_signal(signal.SIGTERM)
        assert child.wait(8) == 0
        assert '"NodeStopped"' in log.read_text()
        assert "NodeStopped" not in moved.read_text()
    finally:
        child.kill()
        child.wait(8)


def test_hang_up_of_a_terminal_is_one_line(node: Running) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", _SERVE, str(node.path)], stderr=subprocess.PIPE, text=True
    )
    assert child.stderr is not None
    try:
        for line in child.stderr:
            if '"NodeReady"' in line:
                break
        child.send_signal(signal.SIGHUP)
        assert '"HungUp"' in child.stderr.readline()
        assert child.poll() is None
        child.send_signal(signal.SIGTERM)
        assert child.wait(8) == 0
    finally:
        child.kill()
        child.wait(8)
        child.stderr.close()


@pytest.mark.parametrize("existing", [None, 0o755, 0o750, 0o700])
def test_state_is_its_owners_alone_and_a_groups_that_was_let_in(
    tmp_path: Path, existing: int | None
) -> None:
    state = tmp_path / "deep" / "state"
    if existing is not None:
        state.mkdir(parents=True)
        state.chmod(existing)
    with locked(state):
        assert stat.S_IMODE(state.stat().st_mode) == (
            0o700 if existing is None else existing & 0o770
        )


def test_files_of_the_service_are_private(node: Running, tmp_path: Path, write_series: Any) -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", _SERVE, str(node.path)], stderr=subprocess.PIPE, text=True
    )
    assert child.stderr is not None
    try:
        for line in child.stderr:
            if '"NodeReady"' in line:
                break
        _send(node.port, write_series(tmp_path / "in", slices=2))
        child.send_signal(signal.SIGTERM)
        assert child.wait(8) == 0
    finally:
        child.kill()
        child.wait(8)
        child.stderr.close()
    found = [p for p in node.state.rglob("*") if not p.is_symlink()]
    assert any(p.suffix == ".dcm" for p in found)
    assert [p for p in found if p.stat().st_mode & 0o077] == []


@pytest.mark.serial
def test_sender_is_asked_where_it_is_configured_and_is_never_waited_for(
    node: Running, tmp_path: Path
) -> None:
    text = node.path.read_text().replace(
        "[track]", '[track]\nexpected_count = "query"\nquery = "pacs"'
    )
    with socket.create_server(("127.0.0.1", 0)) as silent:
        peer = f'ae_title = "P"\nhost = "127.0.0.1"\nport = {silent.getsockname()[1]}\n'
        pacs = f'[[node.destination]]\nname = "pacs"\nkind = "dicom"\ntimeout_seconds = 1\n{peer}'
        node.path.write_text(f"{text}\n{pacs}")
        ready = Node(read_config(node.path), node.path, EventLog("t", node.log))
        journal = Journal.open(tmp_path / "journal.sqlite", time.time)
        tracker, _ = ready._steps(journal)._tracking()
        began = time.monotonic()
        assert tracker.held(KEY, 1) is None
        assert time.monotonic() - began < 0.5
        silent.settimeout(8)
        silent.accept()[0].close()  # the question came, in a thread of its own
        journal.close()


def test_tracker_and_selection_read_a_header_once_between_them(
    node: Running, write_series: Any, tmp_path: Path, monkeypatch: Any
) -> None:
    reads: list[Path] = []
    read = HeaderReader.__call__
    monkeypatch.setattr(HeaderReader, "__call__", lambda r, p: (reads.append(p), read(r, p))[1])
    ready = Node(read_config(node.path), node.path, EventLog("t", node.log))
    journal = Journal.open(tmp_path / "journal.sqlite", time.time)
    tracker, selection = ready._steps(journal)._tracking()
    (path, *_) = write_series(tmp_path / "a")
    assert tracker.read(path) == selection.read(path)
    assert reads == [path]
    ready.headers.close()
    journal.close()


def test_journal_that_breaks_in_service_stops_the_node_with_the_repair(
    node: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> int:
        error = sqlite3.DatabaseError("database disk image is malformed")
        error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT_INDEX
        raise error

    monkeypatch.setattr(node.workers, "run_once", broken)
    fresh = Node(read_config(node.path), node.path, EventLog("t", node.log))
    with pytest.raises(JournalDamaged, match=r"malformed.*doctor --rebuild"):
        fresh.serve(node.stopping)
    assert node.events()[-1] == "NodeStopped"
    with locked(node.state):
        pass
