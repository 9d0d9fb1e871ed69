"""The service under a service manager: what it reports, and the socket that it is handed."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from pynetdicom import AE
from pynetdicom.sop_class import Verification  # type: ignore[attr-defined]

from node.free_ports import free_ports

CONFIG = """
[node]
ae_title = "NODE"
host = "127.0.0.1"
port = {port}
state = "state"
"""

SERVE = """
import os, sys, time
from pathlib import Path
from node.config.file import read_config
from node.service import service as supervise, steps
class Workers:
    processes, ready = (), True
    def run_once(self): return 0
    def stop(self, timeout_s): pass
supervise.WorkStep.of = lambda *_: Workers()
steps.LONGEST_STEP_S = 0.5
if "hang" in sys.argv:
    steps.TrackStep.run_once = lambda self: time.sleep(60)
path = Path(sys.argv[1])
if "GIVEN_FD" in os.environ:
    os.dup2(int(os.environ.pop("GIVEN_FD")), 3)
    os.environ["LISTEN_PID"] = str(os.getpid())
code = supervise.serve(read_config(path), path)
assert not {"NOTIFY_SOCKET", "WATCHDOG_USEC", "LISTEN_FDS", "LISTEN_PID"} & os.environ.keys()
sys.exit(code)
"""


@dataclass
class Manager:
    """As much of systemd as a Type=notify service with a socket sees."""

    folder: Path
    heard: list[str] = field(default_factory=list)
    listener: socket.socket | None = None

    def __post_init__(self) -> None:
        self.notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.notify.bind(str(self.folder / "notify"))
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        while data := self.notify.recv(4096):
            self.heard += data.decode().splitlines()

    def start(self, port: int, *more: str) -> subprocess.Popen[str]:
        path = self.folder / "config.toml"
        path.write_text(CONFIG.format(port=port), encoding="utf-8")
        environment = os.environ | {
            "NOTIFY_SOCKET": str(self.folder / "notify"),
            "WATCHDOG_USEC": "600000",
        }
        fds: tuple[int, ...] = ()
        command = [sys.executable, "-c", SERVE, str(path), *more]
        if self.listener is not None:
            fds = (self.listener.fileno(),)
            environment |= {"LISTEN_FDS": "1", "GIVEN_FD": str(fds[0])}
        return subprocess.Popen(
            command, env=environment, pass_fds=fds, stderr=subprocess.PIPE, text=True
        )

    def wait_for(self, line: str, count: int = 1) -> None:
        ends_at = time.monotonic() + 20
        while self.heard.count(line) < count:
            assert time.monotonic() < ends_at, f"no {line}: {self.heard}"
            time.sleep(0.01)

    def close(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            end.sendto(b"", str(self.folder / "notify"))
        self.notify.close()
        if self.listener is not None:
            self.listener.close()


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[Manager]:
    made = Manager(tmp_path)
    yield made
    made.close()


def _end(child: subprocess.Popen[str]) -> str:
    child.send_signal(signal.SIGTERM)
    _, errors = child.communicate(timeout=20)
    assert child.returncode == 0, errors[-2000:]
    return errors


def test_manager_hears_ready_signs_of_life_and_the_end(manager: Manager) -> None:
    child = manager.start(*free_ports(1))
    manager.wait_for("READY=1")
    manager.wait_for("WATCHDOG=1", 3)
    _end(child)
    manager.wait_for("STOPPING=1")
    assert manager.heard.count("READY=1") == 1
    assert any(line.startswith("STATUS=listening on 127.0.0.1:") for line in manager.heard)


def test_step_that_hangs_gives_no_further_sign_of_life(manager: Manager) -> None:
    child = manager.start(*free_ports(1), "hang")
    try:
        assert child.stderr is not None
        line = next(line for line in child.stderr if '"StepHangs"' in line)
        assert '"step": "track"' in line
        signs = manager.heard.count("WATCHDOG=1")
        time.sleep(1.0)
        assert manager.heard.count("WATCHDOG=1") == signs
        assert any(line.endswith("track hangs; see the log") for line in manager.heard)
    finally:
        child.kill()
        child.communicate()


def test_restart_behind_a_given_socket_refuses_no_sender(manager: Manager) -> None:
    manager.listener = socket.create_server(("127.0.0.1", 0))
    port = manager.listener.getsockname()[1]
    stop, echoes, ae = threading.Event(), list[bool](), AE("SENDER")
    ae.add_requested_context(Verification)

    def send() -> None:
        while not stop.is_set():
            ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = 60
            assoc = ae.associate("127.0.0.1", port, ae_title="NODE")
            echoes.append(bool(assoc.is_established) and assoc.send_c_echo().Status == 0)
            assoc.release()

    child = manager.start(1)  # the port of the configuration is not used
    manager.wait_for("READY=1")
    sender = threading.Thread(target=send)
    sender.start()
    try:
        for number in (2, 3):
            time.sleep(0.3)
            assert f'"port": {port}' in _end(child)
            child = manager.start(1)
            manager.wait_for("READY=1", number)
        time.sleep(0.3)
    finally:
        stop.set()
        sender.join()
    _end(child)
    assert len(echoes) > 2
    assert all(echoes)
