"""The audit trail on disk: one segment per month, appended durably by any process of the node.

A segment is never renamed, cut or deleted here. `head.json` says where the trail ends, so that an end that was cut
off is noticed. A kill may leave a part of the last line, which the next append removes: it was never confirmed.
"""

from __future__ import annotations

import fcntl
import json
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from node.audit.entry import NO_HASH, AuditEvent, Entry, Line, Source, read_line, write_line
from node.durable import append_durably, hand_over, private_folder, replace_durably

SEGMENT: Final = re.compile(r"\d{4}-\d{2}\.log")
LONGEST_LINE: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Head:
    """Where the trail ends.

    number, hash: of the last line. segment, size: its file and that file's bytes. read: by table of the journal,
    the last row that was audited, the last of its entries and how many it has. configuration: digest of the
    configuration at the last start.
    """

    number: int = 0
    hash: str = NO_HASH
    segment: str = ""
    size: int = 0
    read: Mapping[str, tuple[int, int, int]] = field(default_factory=dict)
    configuration: str = ""

    def after(self, line: Line, segment: str, size: int) -> Head:
        """Return the head behind another line."""
        read, configuration = self.read, self.configuration
        source, what = line.content.get("from"), line.content.get("what")
        if isinstance(source, list) and len(source) == 4:
            read = {**read, str(source[0]): (int(source[1]), int(source[2]), int(source[3]))}
        if isinstance(what, Mapping):
            for table, row in dict(what.get("read", {})).items():
                read = {**read, str(table): (int(row), 0, 1)}
            configuration = str(what.get("configuration", configuration))
        return Head(line.number, line.hash, segment, size, read, configuration)


@dataclass(frozen=True, slots=True)
class Found:
    """A line of a file. number: within the file, from 1, or from where reading began; end: the byte behind it.

    line: None for what is no line of a trail. is_part: it ends without a newline.
    """

    path: Path
    number: int
    end: int
    line: Line | None
    is_part: bool


@dataclass(slots=True)
class Trail:
    """The trail in a folder. key: for keyed hashes, empty for plain ones; now: seconds since 1970."""

    folder: Path
    key: bytes
    now: Callable[[], float]
    _head: Head | None = None

    # ---- files ----

    @property
    def _head_file(self) -> Path:
        return self.folder / "head.json"

    def segments(self) -> list[Path]:
        """Return the files of the trail, oldest first."""
        if not self.folder.is_dir():
            return []
        return sorted(p for p in self.folder.iterdir() if SEGMENT.fullmatch(p.name))

    def head(self) -> Head:
        """Return where the trail ends, as the files say it now."""
        with self._locked():
            return self._current()[0]

    def append(self, entries: Sequence[Entry]) -> Head:
        """Append entries durably, in their order, and return where the trail ends then.

        Raises:
            OSError: the disk does not take them; the trail is as before, or has a part of a line at its end.
        """
        with self._locked():
            head, damage = self._current()
            if damage:
                entries = (_damaged(self.now(), damage), *entries)
            if not entries:
                return head
            segment = max(self._month(), *(p.name for p in self.segments()), "")
            path = self.folder / segment
            raw = b""
            start = path.stat().st_size if path.exists() else 0
            for entry in entries:
                line = write_line(entry, head.number + 1, head.hash, self.key)
                raw += line.raw
                head = head.after(line, segment, start + len(raw))
            append_durably(path, raw)
            self._write_head(head)
            return head

    def lines(self, since: Head | None = None) -> Iterator[Found]:
        """Yield every line in the order of the trail; only those behind `since`, where it is given."""
        for path in self.segments():
            if since is not None and path.name < since.segment:
                continue
            end = since.size if since is not None and path.name == since.segment else 0
            with path.open("rb") as file:
                file.seek(end)
                number = 0
                while raw := file.readline(LONGEST_LINE):
                    number, end = number + 1, end + len(raw)
                    line = read_line(raw) if raw.endswith(b"\n") else None
                    yield Found(path, number, end, line, is_part=not raw.endswith(b"\n"))

    # ---- where it ends ----

    def _current(self) -> tuple[Head, str]:
        """Return the head, and what is wrong with the end of the files; removes a part of a line."""
        known, segments = self._head or self.recorded_head(), self.segments()
        if known is None and not segments:
            self._write_head(Head())  # from now on its absence says something
        if known is not None and (damage := self._damage(known)):
            if segments:
                self._cut_part(segments[-1])
            return known, damage
        head = known or Head()
        for found in self.lines(known):
            if found.line is not None:
                head = head.after(found.line, found.path.name, found.end)
            elif found.is_part and found.path == segments[-1]:
                self._cut_part(found.path)
                break
            # Another line is named by `audit verify`; here only the end matters.
        return head, "head.json is missing" if known is None and segments else ""

    def recorded_head(self) -> Head | None:
        """Return what `head.json` says; None where there is none that can be read."""
        try:
            content: dict[str, Any] = json.loads(self._head_file.read_bytes())
            read = {k: (int(v[0]), int(v[1]), int(v[2])) for k, v in content["read"].items()}
            return Head(
                int(content["number"]), str(content["hash"]), str(content["segment"]),
                int(content["size"]), read, str(content["configuration"]),
            )  # fmt: skip
        except (OSError, ValueError, KeyError, TypeError, IndexError, AttributeError):
            return None

    def _damage(self, head: Head) -> str:
        """Return what is missing of the lines up to a head; empty when its last line is in its place."""
        if not head.number:
            return ""
        path = self.folder / head.segment
        if not path.is_file():
            return f"{head.segment} is missing"
        if path.stat().st_size < head.size:
            return f"{head.segment} is shorter than it was"
        last = last_line(path, head.size)
        if last is None or last.hash != head.hash:
            return f"{head.segment} is not as it was at line {head.number}"
        return ""

    def _cut_part(self, path: Path) -> None:
        """Remove what is behind the last newline."""
        with path.open("rb+") as file:
            size = file.seek(0, os.SEEK_END)
            start = max(0, size - LONGEST_LINE)
            file.seek(start)
            tail = file.read()
            file.truncate(start + tail.rfind(b"\n") + 1 if b"\n" in tail else start)

    def _write_head(self, head: Head) -> None:
        replace_durably(self._head_file, json.dumps(asdict(head)).encode("ascii"))
        self._head = head

    def _month(self) -> str:
        return f"{datetime.fromtimestamp(self.now(), UTC):%Y-%m}.log"

    # ---- one writer at a time ----

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Hold the trail's lock; makes its folder."""
        private_folder(self.folder)
        path = self.folder / "lock"
        is_new = not path.exists()
        handle = os.open(path, os.O_CREAT | os.O_RDWR, 0o600)
        try:
            if is_new:
                hand_over(path)
            fcntl.flock(handle, fcntl.LOCK_EX)
            yield
        finally:
            os.close(handle)


def _damaged(at: float, damage: str) -> Entry:
    what = {"damage": damage}
    return Entry(at, AuditEvent.TRAIL_DAMAGED, what=what, outcome="serious_failure")


def last_line(path: Path, end: int) -> Line | None:
    """Return the line of a file that ends at this byte; None where there is none."""
    with path.open("rb") as file:
        start = max(0, end - LONGEST_LINE)
        file.seek(start)
        tail = file.read(end - start)
    if not tail.endswith(b"\n"):
        return None
    return read_line(tail[tail.rfind(b"\n", 0, -1) + 1 :])


def source_after(head: Head, table: str) -> Source:
    """Return what is to be read next of a table: the row, and how many of its entries are there already."""
    row, part, parts = head.read.get(table, (0, 0, 1))
    if part + 1 < parts:
        return Source(table, row, part + 1, parts)
    return Source(table, row + 1)
