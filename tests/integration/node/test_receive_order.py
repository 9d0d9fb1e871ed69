"""What the system is asked for before an object is acknowledged, as strace sees it."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest

from tests.support.receiver_process import ReceiverProcess
from tests.support.senders import data_set_of

pytestmark = [
    pytest.mark.servers,
    pytest.mark.skipif(
        sys.platform != "linux" or shutil.which("strace") is None, reason="strace is not installed"
    ),
]
OBJECTS: Final = 5
SENDERS: Final = 4
_CALL: Final = re.compile(r"^(?:\[pid +)?(\d+)\]? +(\w+)\((.*)$")
_RESUMED: Final = re.compile(r"^(?:\[pid +)?(\d+)\]? +<\.\.\. (\w+) resumed>")


@dataclass(frozen=True)
class _Call:
    """One call: its thread, and the lines of the trace at which it began and ended."""

    thread: str
    name: str
    arguments: str
    began: int
    ended: int


def _calls(trace: Path) -> list[_Call]:
    calls: list[_Call] = []
    open_ones: dict[tuple[str, str], tuple[str, int]] = {}
    for number, line in enumerate(trace.read_text(encoding="utf-8", errors="replace").splitlines()):
        if resumed := _RESUMED.match(line):
            thread, name = resumed.groups()
            arguments, began = open_ones.pop((thread, name))
            calls.append(_Call(thread, name, arguments + line[resumed.end() :], began, number))
        elif call := _CALL.match(line):
            thread, name, arguments = call.groups()
            if arguments.endswith("<unfinished ...>"):
                open_ones[thread, name] = (arguments, number)
            else:
                calls.append(_Call(thread, name, arguments, number, number))
    return sorted(calls, key=lambda c: c.began)


def _first(calls: Sequence[_Call], behind: int, name: str, *words: str) -> _Call:
    """The first call that begins behind a line of the trace and has these words in its arguments."""
    return next(
        c for c in calls
        if c.began > behind and c.name in name.split("|") and all(w in c.arguments for w in words)
    )  # fmt: skip


@pytest.mark.parametrize("senders", [1, SENDERS])
def test_bytes_name_folder_and_row_are_durable_before_the_answer_leaves(
    tmp_path: Path, write_series: Any, raw_peer: Any, senders: int
) -> None:
    trace = tmp_path / "trace"
    watched = "trace=fdatasync,fsync,rename,renameat,renameat2,sendto"
    receiver = ReceiverProcess(
        tmp_path / "state", ["strace", "-f", "-y", "-s", "200", "-e", watched, "-o", str(trace)]
    )
    folders = [
        write_series(tmp_path / f"in{n}", series=f"1.2.{n + 3}", slices=OBJECTS)
        for n in range(senders)
    ]

    def send(paths: Sequence[Path]) -> list[int]:
        with raw_peer(receiver.port).associate() as peer:
            peer.link.settimeout(60)
            return [peer.store(data_set_of(p), p.stem) for p in paths]

    try:
        with ThreadPoolExecutor(senders) as pool:
            statuses = list(pool.map(send, folders))
    finally:
        pid = Path(f"/proc/{receiver.child.pid}/task/{receiver.child.pid}/children").read_text()
        subprocess.run(["kill", "-9", *pid.split()], check=True)
        receiver.end()
    assert statuses == [[0] * OBJECTS] * senders
    calls = _calls(trace)
    renames = [
        c for c in calls
        if c.name.startswith("rename") and ".part" in c.arguments and c.arguments.endswith("= 0")
    ]  # fmt: skip
    assert len(renames) == senders * OBJECTS
    for rename in renames:
        part, name = re.findall(r'"([^"]+)"', rename.arguments)
        bytes_synced = [
            c for c in calls
            if c.name == "fdatasync" and f"{part}>" in c.arguments and c.ended < rename.began
        ]  # fmt: skip
        assert len(bytes_synced) == 1
        folder = _first(calls, rename.ended, "fsync", f"{Path(name).parent}>")
        row = _first(calls, folder.ended, "fsync|fdatasync", "journal.sqlite-wal>")
        answer = _first([c for c in calls if c.thread == rename.thread], rename.ended, "sendto")
        assert row.ended < answer.began, (rename, folder, row, answer)
