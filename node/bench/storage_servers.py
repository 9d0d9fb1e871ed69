"""The storage servers of `bench receive`: a node, DCMTK's storescp and Orthanc, all on loopback."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from model.bundle.card import CARD, SCHEMA, seal
from model.engines import coded
from node.errors import BenchFailed
from node.free_ports import free_ports

CALLED: Final = "BENCH"
"""AE title of every server."""
START_S: Final = 120.0
"""Time for a server to be ready on a busy machine; a node also tries its worker."""
_STOP_S: Final = 20.0
_POLL_S: Final = 0.02
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_SBIN: Final = ("/usr/sbin", "/usr/local/sbin")
"""Folders of servers that the path of an ordinary user lacks."""


@dataclass(frozen=True, slots=True, eq=False)
class StorageServer:
    """A running server that takes C-STORE."""

    name: str
    version: str
    port: int
    process: subprocess.Popen[bytes]

    def cpu_s(self) -> float:
        """Return user and system seconds so far, those of its child processes included."""
        return sum(_ticks(pid) for pid in _with_children(self.process.pid)) / _TICKS

    def memory_mb(self) -> float:
        """Return the resident memory of the process that serves, without its children."""
        text = Path(f"/proc/{self.process.pid}/status").read_text(encoding="ascii")
        found = re.search(r"VmRSS:\s+(\d+) kB", text)
        return int(found[1]) * 1024 / 1e6 if found else 0.0

    def stop(self) -> None:
        """End it."""
        self.process.terminate()
        try:
            self.process.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(_STOP_S)


def _with_children(pid: int) -> list[int]:
    """Return a process and all below it."""
    below = [pid]
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            for child in (task / "children").read_text(encoding="ascii").split():
                below += _with_children(int(child))
    return below


def _ticks(pid: int) -> int:
    """Return the clock ticks of a process, and of its children that have ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="ascii", errors="replace")
    except OSError:
        return 0
    fields = stat.rpartition(")")[2].split()
    return sum(int(fields[n]) for n in (11, 12, 13, 14))  # utime, stime, cutime, cstime


def find_program(name: str) -> str | None:
    """Return the path of an installed program."""
    search = os.pathsep.join([os.environ.get("PATH", ""), *_SBIN])
    return shutil.which(name, path=search)


def environment() -> dict[str, str]:
    """Return the environment of every server and sender.

    Without TCP_NODELAY Debian's DCMTK, in Orthanc too, waits 40 to 50 ms per instance for the peer's delayed
    acknowledgement: the comparison would be one of those waits.
    """
    return {**os.environ, "TCP_NODELAY": "1"}


def start_node(folder: Path) -> StorageServer:
    """Start `lumbar-node serve` with a worker that has nothing to load; returns once it is ready."""
    (port,), log = free_ports(), folder / "node.log"
    config, bundle = folder / "config.toml", folder / "bundle"
    bundle.mkdir()
    card = {
        "schema": SCHEMA,
        "name": coded.NAME,
        "version": "1",
        "architecture": {"name": coded.NAME},
    }
    (bundle / CARD).write_text(json.dumps(seal(card, bundle)), encoding="utf-8")
    config.write_text(
        f'[node]\nae_title = "{CALLED}"\nport = {port}\nstate = {json.dumps(str(folder / "state"))}\n'
        f"[model]\nbundle = {json.dumps(str(bundle))}\n[results]\npictures = false\n",
        encoding="utf-8",
    )
    command = [sys.executable, "-m", "node", "serve", "--config", str(config)]

    def ready() -> bool:
        return '"NodeReady"' in log.read_text(encoding="utf-8", errors="replace")

    return _start("lumbar-node", "durable", port, command, log, ready)


def start_storescp(folder: Path) -> StorageServer | None:
    """Start DCMTK's storescp; None where it is not installed. It never asks the disk to sync."""
    program = find_program("storescp")
    if program is None:
        return None
    (port,) = free_ports()
    (folder / "received").mkdir()
    command = [program, "-aet", CALLED, "-od", str(folder / "received"), str(port)]
    version = _version([program, "--version"], r"storescp v(\S+)")
    return _start("storescp", version, port, command, folder / "storescp.log", _listens(port))


def start_orthanc(folder: Path) -> StorageServer | None:
    """Start Orthanc with its defaults, storage synced, no plugins, no HTTP; None where it is not installed."""
    program = find_program("Orthanc")
    if program is None:
        return None
    (port,) = free_ports()
    settings = folder / "orthanc.json"
    settings.write_text(
        json.dumps(
            {
                "StorageDirectory": str(folder / "orthanc"), "IndexDirectory": str(folder / "orthanc"),
                "DicomAet": CALLED, "DicomPort": port, "HttpServerEnabled": False, "Plugins": [],
            }
        ),
        encoding="utf-8",
    )  # fmt: skip
    version = _version([program, "--version"], r"Orthanc (\S+)")
    command = [program, str(settings)]
    return _start("Orthanc", version, port, command, folder / "orthanc.log", _listens(port))


def _listens(port: int) -> Callable[[], bool]:
    def check() -> bool:
        try:
            socket.create_connection(("127.0.0.1", port), 1.0).close()
        except OSError:
            return False
        return True

    return check


def _version(command: Sequence[str], pattern: str) -> str:
    ended = subprocess.run(
        command, capture_output=True, text=True, errors="replace", timeout=START_S, check=False
    )
    found = re.search(pattern, ended.stdout)
    return found[1] if found else ""


def _start(
    name: str,
    version: str,
    port: int,
    command: Sequence[str],
    log: Path,
    ready: Callable[[], bool],
) -> StorageServer:
    """Start a server and wait until it is ready. Raises `BenchFailed`."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT, env=environment()
        )  # fmt: skip
    server = StorageServer(name, version, port, process)
    ends_at = time.monotonic() + START_S
    while not ready():
        if process.poll() is not None or time.monotonic() > ends_at:
            how = "does not answer" if process.poll() is None else f"ended with {process.poll()}"
            server.stop()
            lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
            last = lines[-1][:200] if lines else "its log is empty"
            raise BenchFailed(f"{name} {how}: {last}")
        time.sleep(_POLL_S)
    return server
