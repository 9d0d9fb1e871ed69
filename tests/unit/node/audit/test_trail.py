"""The trail on disk: chained, appended by several processes, and found damaged by what a kill cannot do."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from hashlib import sha256
from pathlib import Path

import pytest

from node.audit.entry import AuditEvent, Entry, Participant, Source
from node.audit.trail import Found, Head, Trail, source_after
from node.audit.verify import verify

NOVEMBER = 1_795_000_000.0  # 2026-11-18
E = AuditEvent.SERIES_RECEIVED


def _trail(tmp_path: Path, key: bytes = b"", at: float = NOVEMBER) -> Trail:
    return Trail(tmp_path / "audit", key, lambda: at)


def _entries(count: int, start: int = 0) -> list[Entry]:
    return [
        Entry(NOVEMBER + n, E, what={"series": f"1.2.{n}"}) for n in range(start, start + count)
    ]


def _file(tmp_path: Path) -> Path:
    return tmp_path / "audit" / "2026-11.log"


def _kinds(trail: Trail) -> list[tuple[str, int]]:
    return [(f.kind, f.line) for f in verify(trail, {}).findings]


def test_lines_are_chained_private_and_can_be_checked_by_hand(tmp_path: Path) -> None:
    trail = _trail(tmp_path)
    trail.append(_entries(2))
    head = trail.append(_entries(1, 2))
    path = _file(tmp_path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "audit").stat().st_mode & 0o777 == 0o700
    lines = path.read_bytes().splitlines()
    assert [json.loads(line)["n"] for line in lines] == [1, 2, 3]
    body = lines[1].partition(b',"hash":"')[0]
    assert json.loads(lines[1])["hash"] == sha256(body).hexdigest()
    assert json.loads(lines[2])["previous"] == json.loads(lines[1])["hash"]
    assert (head.number, head.hash) == (3, json.loads(lines[2])["hash"])
    report = verify(trail, {2: json.loads(lines[1])["hash"]})
    assert (report.findings, report.lines, report.hash) == ([], 3, head.hash)


def test_a_new_month_is_a_new_segment_of_one_chain(tmp_path: Path) -> None:
    _trail(tmp_path).append(_entries(2))
    _trail(tmp_path, at=NOVEMBER + 30 * 86400).append(_entries(2, 2))
    # A clock that is set back does not write behind newer lines.
    _trail(tmp_path).append(_entries(1, 4))
    names = [p.name for p in _trail(tmp_path).segments()]
    assert names == ["2026-11.log", "2026-12.log"]
    report = verify(_trail(tmp_path), {})
    assert (report.findings, report.lines, report.segments) == ([], 5, 2)
    _file(tmp_path).unlink()  # an administrator moved it to another place
    report = verify(_trail(tmp_path), {1: "x"})
    assert (report.findings, report.first, report.last) == ([], 3, 5)


def test_no_sign_of_a_peer_acts_on_a_terminal_or_ends_a_line(tmp_path: Path) -> None:
    evil = 'A\nB\x1b[2J\u202e"}'
    who = (Participant("source", ae_title=evil),)
    _trail(tmp_path).append([Entry(1.0, E, who, {"reason": evil, evil: "x" * 1000})])
    raw = _file(tmp_path).read_bytes()
    assert raw.count(b"\n") == 1
    assert raw.isascii()
    assert b"\x1b" not in raw
    content = json.loads(raw)
    assert content["who"][0]["ae_title"] == evil
    assert len(content["what"][evil]) == 256
    assert verify(_trail(tmp_path), {}).is_intact


# ---- what a kill leaves --------------------------------------------------------------------------


@pytest.mark.parametrize("cut", [1, 40, 200])
def test_a_part_of_a_line_is_removed_by_the_next_append(tmp_path: Path, cut: int) -> None:
    trail = _trail(tmp_path)
    trail.append(_entries(2))
    whole = _file(tmp_path).read_bytes()
    with _file(tmp_path).open("ab") as file:
        file.write(whole[:cut])
    assert _kinds(_trail(tmp_path)) == [("part", 3)]
    assert verify(_trail(tmp_path), {}).is_intact
    head = _trail(tmp_path).append(_entries(1, 2))
    assert head.number == 3
    assert _kinds(_trail(tmp_path)) == []


def test_lines_behind_the_recorded_head_are_part_of_the_trail(tmp_path: Path) -> None:
    trail = _trail(tmp_path)
    trail.append(_entries(2))
    head = (tmp_path / "audit" / "head.json").read_bytes()
    trail.append([Entry(1.0, E, source=Source("event", 7))])
    (tmp_path / "audit" / "head.json").write_bytes(head)  # the kill came between line and head
    fresh = _trail(tmp_path)
    assert fresh.head().number == 3
    assert source_after(fresh.head(), "event") == Source("event", 8)
    fresh.append(_entries(1, 3))
    assert _kinds(fresh) == []


def test_an_entry_of_several_lines_goes_on_where_the_kill_cut_it(tmp_path: Path) -> None:
    trail = _trail(tmp_path)
    assert source_after(Head(), "event") == Source("event", 1)
    trail.append([Entry(1.0, E, source=Source("event", 7, part, 3)) for part in range(3)])
    assert source_after(_trail(tmp_path).head(), "event") == Source("event", 8)
    raw = _file(tmp_path).read_bytes().splitlines(keepends=True)
    _file(tmp_path).write_bytes(raw[0] + raw[1] + raw[2][:30])
    (tmp_path / "audit" / "head.json").write_text(
        json.dumps({"number": 0, "hash": "0" * 64, "segment": "", "size": 0, "read": {}, "configuration": ""})
    )  # fmt: skip
    assert source_after(_trail(tmp_path).head(), "event") == Source("event", 7, 2, 3)


# ---- what an attacker or a broken disk does ------------------------------------------------------


def _alter(lines: list[bytes]) -> list[bytes]:
    return [lines[0], lines[1].replace(b"1.2.1", b"1.2.9"), *lines[2:]]


def _forge(lines: list[bytes]) -> list[bytes]:
    body = lines[1].partition(b',"hash":"')[0].replace(b"1.2.1", b"1.2.9")
    return [lines[0], body + b',"hash":"' + sha256(body).hexdigest().encode() + b'"}\n', *lines[2:]]


DAMAGES: dict[str, tuple[Callable[[list[bytes]], list[bytes]], list[tuple[str, int]]]] = {
    "altered": (_alter, [("altered", 2)]),
    "altered with its hash": (_forge, [("chain", 3)]),
    "one removed": (lambda x: [x[0], *x[2:]], [("missing", 2)]),
    "first removed": (lambda x: x[1:], []),
    "two exchanged": (lambda x: [x[1], x[0], *x[2:]], [("chain", 2), ("missing", 3)]),
    "last two removed": (lambda x: x[:-2], [("truncated", 0)]),
    "all removed": (lambda _: [], [("truncated", 0)]),
    "last altered with its hash": (
        lambda x: [*x[:-1], *_forge([b"", x[-1].replace(b"1.2.4", b"1.2.1")])[1:2]],
        [("chain", 0)],
    ),
    "a foreign line": (lambda x: [x[0], b"hello\n", *x[1:]], [("unreadable", 2)]),
    "a line of JSON": (lambda x: [x[0], b'{"n":2}\n', *x[1:]], [("unreadable", 2)]),
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGES)
def test_damage_is_named_with_its_line(tmp_path: Path, name: str) -> None:
    change, expected = DAMAGES[name]
    _trail(tmp_path).append(_entries(5))
    lines = _file(tmp_path).read_bytes().splitlines(keepends=True)
    _file(tmp_path).write_bytes(b"".join(change(lines)))
    assert _kinds(_trail(tmp_path)) == expected


def test_a_first_line_that_is_gone_is_found_by_the_anchor(tmp_path: Path) -> None:
    head = _trail(tmp_path).append(_entries(1))
    _trail(tmp_path).append(_entries(2, 1))
    anchors = {head.number: head.hash, 3: "f" * 64}
    kinds = [f.kind for f in verify(_trail(tmp_path), anchors).findings]
    assert kinds == ["anchor"], "entry 3 has another hash"
    assert verify(_trail(tmp_path), {9: "f" * 64}).findings[0].kind == "anchor"


def test_the_node_writes_on_behind_damage_and_leaves_the_gap_as_evidence(tmp_path: Path) -> None:
    _trail(tmp_path).append(_entries(5))
    lines = _file(tmp_path).read_bytes().splitlines(keepends=True)
    _file(tmp_path).write_bytes(b"".join(lines[:3]))
    head = _trail(tmp_path).append(_entries(1, 5))
    assert head.number == 7, "the damage itself is entry 6"
    written = [json.loads(x) for x in _file(tmp_path).read_bytes().splitlines()]
    assert written[3]["event"] == "trail_damaged"
    assert written[3]["what"] == {"damage": "2026-11.log is shorter than it was"}
    assert _kinds(_trail(tmp_path)) == [("missing", 4)]
    _trail(tmp_path).append(_entries(1, 6))
    assert _kinds(_trail(tmp_path)) == [("missing", 4)], "reported once"


@pytest.mark.parametrize("what", ["file", "head"])
def test_a_file_that_is_gone_is_noticed(tmp_path: Path, what: str) -> None:
    _trail(tmp_path).append(_entries(3))
    (_file(tmp_path) if what == "file" else tmp_path / "audit" / "head.json").unlink()
    assert _kinds(_trail(tmp_path)) == [("truncated", 0)]
    _trail(tmp_path).append(_entries(1))
    first = json.loads(_file(tmp_path).read_bytes().splitlines()[0 if what == "file" else 3])
    assert first["event"] == "trail_damaged"
    assert first["n"] == 4


# ---- keyed ---------------------------------------------------------------------------------------


def test_with_a_key_a_forged_line_does_not_pass(tmp_path: Path) -> None:
    trail = _trail(tmp_path, b"secret")
    trail.append(_entries(5))
    assert verify(trail, {}).findings == []
    assert verify(_trail(tmp_path, b"other"), {}).findings[0].kind == "altered"
    assert verify(_trail(tmp_path), {}).unverified == 5
    lines = _file(tmp_path).read_bytes().splitlines(keepends=True)
    _file(tmp_path).write_bytes(b"".join(_forge(lines)))
    assert _kinds(trail) == [("altered", 2), ("chain", 3)]
    stripped = [line.replace(b'"keyed":true,', b"") for line in lines]
    _file(tmp_path).write_bytes(b"".join([lines[0], _forge(stripped)[1], *lines[2:]]))
    assert ("unkeyed", 2) in _kinds(trail)


def test_a_key_may_be_added_later_and_is_expected_from_then_on(tmp_path: Path) -> None:
    _trail(tmp_path).append(_entries(2))
    assert _kinds(_trail(tmp_path, b"secret")) == [("unkeyed", 0)]
    _trail(tmp_path, b"secret").append(_entries(1, 2))
    assert _kinds(_trail(tmp_path, b"secret")) == []
    _trail(tmp_path).append(_entries(1, 3))
    assert _kinds(_trail(tmp_path, b"secret")) == [("unkeyed", 4)]


# ---- several writers -----------------------------------------------------------------------------


@pytest.mark.process
def test_processes_append_to_one_chain(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; from node.audit.trail import Trail;"
        "from node.audit.entry import *\n"
        "for n in range(20): Trail(Path(sys.argv[1]), b'', lambda: 1.8e9).append("
        "[Entry(1.0, AuditEvent.RETRY_REQUESTED, what={'n': n})])"
    )
    command = [sys.executable, "-c", script, str(tmp_path / "audit")]
    runs = [subprocess.Popen(command, env=dict(os.environ)) for _ in range(3)]
    assert [run.wait(60) for run in runs] == [0, 0, 0]
    report = verify(_trail(tmp_path), {})
    assert (report.findings, report.lines) == ([], 60)


def test_entries_that_come_while_it_is_verified_are_no_fault(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trail, read = _trail(tmp_path), Trail.lines
    trail.append(_entries(3))

    def lines_before_more(self: Trail, since: Head | None = None) -> Iterator[Found]:
        yield from read(self, since)
        if self is trail:
            _trail(tmp_path).append(_entries(2, 3))

    with monkeypatch.context() as patched:
        patched.setattr(Trail, "lines", lines_before_more)
        report = verify(trail, {})
    assert (report.last, report.findings) == (3, [])
    assert verify(trail, {}).last == 5
