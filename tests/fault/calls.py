"""The system calls of a node under strace, and whether an answer left before the disk had what it promises."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.fault.surroundings import NotPossible

WATCHED: Final = "fdatasync,fsync,syncfs,rename,renameat,renameat2,sendto,sendmsg,write"
_LINE: Final = re.compile(r"^(\d+) +(?:<\.\.\. (\w+) resumed>|(\w+)\()(.*)$")
_FILE: Final = re.compile(r"^\d+<([^>]*)>")
_NAMES: Final = re.compile(r'"([^"]*)"')
_ANSWER: Final = re.compile(r'^\d+<(?:socket|TCP)[^>]*>, "\\4\\0')
"""A P-DATA-TF: after the association, only answers are sent in one."""
_SENDING: Final = ("sendto", "sendmsg", "write")


@contextmanager
def traced(pid: int, out: Path) -> Iterator[None]:
    """Watch a process and its threads from now on. Raises `NotPossible`."""
    if shutil.which("strace") is None:
        raise NotPossible("needs strace (apt install strace)")
    command = [
        "strace",
        "-f",
        "-y",
        "-s",
        "16",
        "-e",
        f"trace={WATCHED}",
        "-o",
        str(out),
        "-p",
        str(pid),
    ]
    tracer = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    assert tracer.stderr is not None
    try:
        first = tracer.stderr.readline()
        if "attached" not in first:
            raise NotPossible(f"strace may not look at a process here: {first.strip()[:120]}")
        time.sleep(0.2)
        yield
        time.sleep(0.5)
    finally:
        if tracer.poll() is None:
            os.kill(tracer.pid, signal.SIGINT)
        tracer.communicate(timeout=30)


@dataclass(slots=True)
class _Object:
    """What the disk has of the object that is under way."""

    synced: set[str] = field(default_factory=set)
    renamed: list[tuple[str, bool]] = field(default_factory=list)
    """New name, and whether the bytes were synchronised before."""
    unsynced_names: set[str] = field(default_factory=set)
    journal: bool = False


def events(trace: str) -> Iterator[tuple[str, str]]:
    """Yield name and arguments of every call: an answer when it is handed over, all else when it has returned.

    An answer is named `answer`.
    """
    begun: dict[tuple[str, str], str] = {}
    for line in trace.splitlines():
        match = _LINE.match(line)
        if match is None:
            continue
        pid, resumed, called, rest = match.groups()
        name = resumed or called
        sends = name in _SENDING
        if resumed:
            rest = begun.pop((pid, resumed), "") + rest
        elif rest.endswith("<unfinished ...>"):
            begun[pid, called] = rest
        if sends and not resumed and _ANSWER.match(rest):
            yield "answer", rest
        elif not sends and not rest.endswith("<unfinished ...>"):
            yield name, rest


def synchronised(name: str, rest: str) -> str:
    """The path of the file or folder that a call made durable, "" where it is another call."""
    match = _FILE.match(rest) if name in {"fdatasync", "fsync", "syncfs"} else None
    return match.group(1) if match else ""


def complaints(trace: str) -> tuple[int, list[str]]:
    """Read a trace of one sender's objects; returns how many answers it has, and what was not durable before them.

    Per object: the bytes are synchronised, then the file is renamed, then the folder is synchronised, then the
    journal, then the answer leaves.
    """
    answers, found, now = 0, list[str](), _Object()
    for name, rest in events(trace):
        if name == "answer":
            answers += 1
            found += [f"answer {answers}: {sentence}" for sentence in _missing(now)]
            now = _Object()
        else:
            _take(now, name, rest)
    return answers, found


def _take(now: _Object, name: str, rest: str) -> None:
    if path := synchronised(name, rest):
        if name == "syncfs":
            now.unsynced_names.clear()
        now.synced.add(path)
        now.unsynced_names.discard(path)
        if "journal.sqlite" in path or name == "syncfs":
            now.journal = bool(now.renamed) and not now.unsynced_names
    elif name.startswith("rename"):
        names = _NAMES.findall(rest)
        if len(names) == 2 and names[1].endswith(".dcm"):
            now.renamed.append((names[1], names[0] in now.synced))
            now.unsynced_names.add(str(Path(names[1]).parent))
            now.journal = False


def _missing(now: _Object) -> list[str]:
    said = []
    if not now.renamed:
        said.append("no file got its name before it")
    if not all(synced for _, synced in now.renamed):
        said.append("the bytes were not synchronised before the rename")
    if now.unsynced_names:
        said.append("the folder was not synchronised after the rename")
    if not now.journal:
        said.append("the journal was not synchronised after the folder")
    return said
