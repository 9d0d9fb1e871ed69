"""`audit verify` and `audit show` as a person runs them."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from node.audit.entry import AuditEvent, Entry, Participant
from node.audit.trail import Trail
from node.cli.app import run

Said = Callable[..., tuple[int, str, str]]
AT = 1_795_000_000.0


@pytest.fixture
def said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Said:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config.toml").write_text('[node]\nae_title = "NODE"\n')

    def call(*arguments: str) -> tuple[int, str, str]:
        code = run(arguments)
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out, err

    return call


def _write(tmp_path: Path, key: bytes = b"") -> Path:
    trail = Trail(tmp_path / "state" / "audit", key, lambda: AT)
    who = (Participant("source", ae_title="MR1\x1b[2J", address="10.0.0.1"), Participant("destination", "NODE"))  # fmt: skip
    what = {"study": "1.2.3", "series": "1.2.3.4", "objects": 128}
    trail.append(
        [
            Entry(AT, AuditEvent.SERIES_RECEIVED, who, what),
            Entry(AT + 60, AuditEvent.ASSOCIATION_REFUSED, who[:1], outcome="minor_failure"),
        ]
    )
    return trail.segments()[0]


def test_intact_prints_the_last_entry_which_a_later_run_can_expect(
    said: Said, tmp_path: Path
) -> None:
    _write(tmp_path)
    code, out, _ = said("audit", "verify")
    assert code == 0
    assert out.startswith("audit trail intact: entries 1 to 2 in 1 file\nlast entry 2:")
    expected = out.split()[-1]
    assert said("audit", "verify", "--expect", expected)[0] == 0
    code, _, err = said("audit", "verify", "--expect", f"2:{'0' * 64}")
    assert code == 4
    assert "entry 2 has another hash" in err
    assert said("audit", "verify", "--expect", "2")[0] == 2


def test_each_reading_is_an_entry_itself(said: Said, tmp_path: Path) -> None:
    folder = _write(tmp_path).parent
    said("audit", "verify")
    said("audit", "show")  # today's month may have a segment of its own
    written = [x for f in sorted(folder.glob("*.log")) for x in f.read_bytes().splitlines()]
    lines = [json.loads(x) for x in written[2:]]
    assert [x["what"]["command"] for x in lines] == ["audit verify", "audit show"]
    assert all(x["who"][0]["user"] for x in lines)


def test_damage_is_named_and_exits_4(said: Said, tmp_path: Path) -> None:
    file = _write(tmp_path)
    file.write_bytes(file.read_bytes().replace(b"128", b"127"))
    code, out, err = said("audit", "verify")
    assert code == 4
    assert "lumbar-node: 2026-11.log:1: altered: entry 1: its hash" in err
    assert "DAMAGED" in out
    code, out, _ = said("audit", "verify", "--json")
    assert code == 4
    assert json.loads(out)["findings"][0] == {
        "kind": "altered",
        "segment": "2026-11.log",
        "line": 1,
        "text": "entry 1: its hash is not that of its content",
    }


def test_without_a_trail_it_says_so(said: Said) -> None:
    code, _, err = said("audit", "verify")
    assert code == 3
    assert "no audit trail; `lumbar-node serve` writes it" in err


def test_keyed_entries_need_the_key(said: Said, tmp_path: Path) -> None:
    file = _write(tmp_path, b"secret")
    code, _, err = said("audit", "verify")
    assert code == 2
    assert "2 entries are keyed; set [audit] key_file" in err
    file.write_bytes(b"".join(file.read_bytes().splitlines(keepends=True)[:2]))
    (file.parent / "head.json").unlink()
    (tmp_path / "key").write_text("secret\n")
    (tmp_path / "config.toml").write_text('[node]\nae_title = "N"\n[audit]\nkey_file = "key"\n')
    _, _, err = said("audit", "verify")
    assert "head.json is missing" in err
    (tmp_path / "config.toml").write_text(
        '[node]\nae_title = "N"\n[audit]\nkey_file = "credential:k"\n'
    )
    code, out, err = said("audit", "show")
    assert code == 0
    assert "series_received" in out
    assert "this command is not in the audit trail" in err


def test_show_filters_and_no_sign_of_a_peer_reaches_the_terminal(
    said: Said, tmp_path: Path
) -> None:
    _write(tmp_path)
    code, out, _ = said("audit", "show")
    assert code == 0
    first, second = out.splitlines()
    assert first == (
        "1  2026-11-18T11:06:40.000Z  series_received  MR1\\u001b[2J@10.0.0.1 → NODE"
        "  study 1.2.3  series 1.2.3.4  objects 128"
    )
    assert "association_refused  minor_failure" in second
    assert "\x1b" not in out
    assert len(said("audit", "show", "--study", "1.2.3")[1].splitlines()) == 1
    assert said("audit", "show", "--study", "1.2")[1] == ""
    since = said("audit", "show", "--since", "2026-11-18T11:07:00+00:00", "--json")[1]
    shown = [json.loads(x)["event"] for x in since.splitlines()]
    assert shown == ["association_refused", *["trail_read"] * 3]
    assert len(said("audit", "show", "--event", "series_received")[1].splitlines()) == 1
    code, _, err = said("audit", "show", "--event", "series_recieved")
    assert code == 2
    assert 'no event "series_recieved"; did you mean "series_received"?' in err
