"""One worker as the supervisor sees it: started, listened to, measured, ended.

Supervisor and worker meet in the journal (claims with a token and a heartbeat) and in three pipes: the
worker ends when its standard input does, says `ready` on its standard output, and what it writes to
standard error becomes our log. Each output belongs to the thread that reads it, until its end.
"""

from __future__ import annotations

import json
import os
import secrets
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final

from node.event_log import EventLog
from node.events import WorkerSaid

READY: Final = b"ready\n"
_SLOTS: Final = b"slots "

PATIENT: Final = {"OMP_WAIT_POLICY": "passive"}
"""Set OMP_WAIT_POLICY=passive so that idle OpenMP threads sleep instead of spinning: spinning made the network
twenty times slower beside any other load, and no faster on an idle machine. Read when torch is loaded; a value
of the environment stays."""

OOM_SCORE: Final = 500
"""Of 1000: where memory runs out, the kernel ends a worker before the reception."""

LONGEST_LINE: Final = 65536
"""Bytes of one line on standard error; longer ones come in parts."""

SAID: Final = 300
"""Characters of a line of another origin (a native library) that the log keeps."""

MOST_LINES: Final = 50
"""Such lines per life of a process; a library that complains at every slice says nothing new."""

_PROC: Final = Path("/proc")
_PAGE_MB: Final = os.sysconf("SC_PAGE_SIZE") / 1e6


def command(config_path: Path | None, token: str) -> Sequence[str]:
    """Return the command line of a worker; without a file it reads the environment's variables alone."""
    module = (sys.executable, "-m", "node.work.worker")
    file = ("--config", str(config_path)) if config_path else ()
    return (*module, *file, "--token", token)


def slots_line(slots: int) -> bytes:
    """Return what a worker writes when the number of tasks changes that the cluster can run at once."""
    return _SLOTS + b"%d\n" % slots


def number_in(token: str) -> int:
    """Return the number of a worker among those of the node, from 1, as its token begins."""
    digits = token.partition(".")[0].lstrip("w")
    return int(digits) if digits.isdigit() else 1


@dataclass(slots=True, eq=False)
class _Life:
    """One start of the process; `why` it was killed, when it was. slots: of the cluster, None without one."""

    child: subprocess.Popen[bytes]
    ready: threading.Event = field(default_factory=threading.Event)
    why: str = ""
    slots: int | None = None

    def listen(self, pipe: IO[bytes]) -> None:
        """Hear that the worker is ready, and what it sees of the cluster."""
        with pipe:
            for line in pipe:
                if line == READY:
                    self.ready.set()
                elif line.startswith(_SLOTS) and line[len(_SLOTS) :].strip().isdigit():
                    self.slots = int(line[len(_SLOTS) :])

    def relay(self, pipe: IO[bytes], name: str, log: EventLog) -> None:
        """Pass the worker's events on; of other lines the first few, cut."""
        others = 0
        with pipe:
            while line := pipe.readline(LONGEST_LINE):
                event = _event_in(line)
                if event is not None:
                    log.relay(event)
                    continue
                others += 1
                text = line.decode("utf-8", "replace").strip()[:SAID]
                if text and others <= MOST_LINES:
                    log.event(WorkerSaid(name, text))


def _event_in(line: bytes) -> dict[str, Any] | None:
    if not line.startswith(b"{"):
        return None
    try:
        content: object = json.loads(line)
    except ValueError:
        return None
    return content if isinstance(content, dict) and "event" in content else None


@dataclass(slots=True)
class WorkerProcess:
    """One child process `python -m node.work.worker`; a stopped one can be started again.

    name: part of its claims' tokens; every start has another token.
    """

    config_path: Path | None
    name: str
    log: EventLog
    starts: int = 0
    token: str = ""
    _life: _Life | None = None

    def start(self) -> None:
        """Start the process. Raises `OSError` where the machine has no room for it."""
        self._hang_up()
        self.starts += 1
        # Process ids come again after a restart of the machine, and a claim must not pass for ours then.
        self.token = f"{self.name}.{os.getpid()}.{self.starts}.{secrets.token_hex(4)}"
        child = subprocess.Popen(
            command(self.config_path, self.token),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**PATIENT, **os.environ},
            start_new_session=True,  # Ctrl+C is for the supervisor, which stops us in order
        )
        with suppress(OSError):
            (_PROC / str(child.pid) / "oom_score_adj").write_text(str(OOM_SCORE), encoding="ascii")
        self._life = life = _Life(child)
        for target, arguments in (
            (life.listen, (child.stdout,)),
            (life.relay, (child.stderr, self.name, self.log)),
        ):
            threading.Thread(
                target=target, args=arguments, name=f"{self.name} output", daemon=True
            ).start()

    @property
    def ready(self) -> bool:
        """Whether the model is loaded and series are taken."""
        return self._life is not None and self._life.ready.is_set() and self.running

    @property
    def slots(self) -> int | None:
        """Tasks that the cluster can run at once, as this worker sees it; None without a cluster."""
        return self._life.slots if self._life is not None and self.running else None

    def poll(self) -> int | None:
        """Return the exit code of a process that has ended (negative: the signal), None while it runs."""
        return None if self._life is None else self._life.child.poll()

    @property
    def running(self) -> bool:
        """Whether there is a process."""
        return self._life is not None and self._life.child.poll() is None

    @property
    def ending(self) -> str:
        """Why the last process ended: what it was killed for, its signal or its exit code."""
        code = self.poll()
        if self._life is None or code is None:
            return ""
        if self._life.why:
            return self._life.why
        if code >= 0:
            return f"the worker ended with exit code {code}"
        return f"the worker was ended by {_signal_name(-code)}"

    def resident_mb(self) -> float:
        """Return memory that the process and its children occupy, in MB; 0 when the machine does not tell."""
        if self._life is None:
            return 0.0
        own = self._life.child.pid
        return sum(_resident_mb(pid) for pid in (own, *_children(own)))

    def made(self, claim: str | None) -> bool:
        """Return whether a claim in the journal was made by the process of the last start."""
        return bool(self.token) and claim is not None and claim.startswith(f"{self.token}/")

    def owns(self, claim: str | None) -> bool:
        """Return whether a claim in the journal is one of this running process."""
        return self.running and self.made(claim)

    def send_signal(self, number: signal.Signals) -> None:
        """Send a signal to the process, if it runs."""
        if self._life is not None:
            self._life.child.send_signal(number)

    def stop(self, timeout_s: float) -> bool:
        """Ask it to end after its series; kill it after the time limit. True when it ended itself."""
        if self._life is None:
            return True
        self._life.child.terminate()
        try:
            self._life.child.wait(timeout_s)
        except subprocess.TimeoutExpired:
            self.kill("the node was stopped")
            return False
        self._hang_up()
        return True

    def kill(self, why: str) -> None:
        """End it at once; its claim is given back by `WorkStep`."""
        if self._life is not None and self._life.child.poll() is None:
            self._life.why = why
            self._life.child.kill()
            self._life.child.wait()
        self._hang_up()

    def _hang_up(self) -> None:
        """Close the worker's standard input; its outputs are closed by who reads them."""
        if self._life is not None and self._life.child.stdin is not None:
            self._life.child.stdin.close()


def _resident_mb(pid: int) -> float:
    try:
        memory = (_PROC / str(pid) / "statm").read_text(encoding="ascii")
    except OSError:
        return 0.0
    return int(memory.split()[1]) * _PAGE_MB


def _children(pid: int) -> list[int]:
    """Return the child processes of every thread of a process; none where the kernel lists none."""
    found: list[int] = []
    tasks = _PROC / str(pid) / "task"
    with suppress(OSError):  # the process has ended; `Path.glob` may raise too
        for thread in os.listdir(tasks):  # noqa: PTH208 - names at once, before the threads end
            with suppress(OSError):
                listed = (tasks / thread / "children").read_text(encoding="ascii")
                found += map(int, listed.split())
    return found


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
