from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest
import typer.main

from node.cli import offline, packages, service
from node.cli.app import app, run
from node.journal.journal import Journal
from node.journal.rows import NewInstance
from node.journal.states import SeriesEvent
from tests.support.mr_series import KEY

COMMANDS = (
    "serve", "demo", "process", "select", "status", "list", "why", "retry", "echo", "check-config",
    "models", "doctor",
)  # fmt: skip
Said = Callable[..., tuple[int, str, str]]


@pytest.fixture
def said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Said:
    """Run a command in an empty folder: exit code, standard output, standard error."""
    monkeypatch.chdir(tmp_path)

    def call(*arguments: object) -> tuple[int, str, str]:
        code = run([str(a) for a in arguments])
        out, err = capsys.readouterr()
        assert "Traceback" not in err
        return code, out, err

    return call


def _config(tmp_path: Path, more: str = "") -> None:
    (tmp_path / "config.toml").write_text(f'[node]\nae_title = "NODE"\n{more}')


def _journal(tmp_path: Path) -> Journal:
    _config(tmp_path)
    journal = Journal.open(tmp_path / "state" / "journal.sqlite", lambda: 1_700_000_000.0)
    spool = tmp_path / "state" / "spool"
    spool.mkdir()
    (spool / "a.dcm").write_bytes(b"x")
    journal.instances.add(
        NewInstance("1.2.3.4", "1.2", *KEY, sha256(b"x").hexdigest(), "", spool / "a.dcm", 1)
    )
    return journal


# ---- usage and configuration ---------------------------------------------------------------------


def test_help_names_every_command_and_exit_code(said: Said) -> None:
    code, out, _ = said("--help")
    assert code == 0
    assert all(f"\n  {name}" in out for name in COMMANDS)
    assert "5  peer unreachable or refused" in out


@pytest.mark.parametrize("command", [*(c for c in COMMANDS if c != "models"), "models show"])
def test_every_help_has_examples_and_exit_status(said: Said, command: str) -> None:
    code, out, _ = said(*command.split(), "--help")
    assert code == 0
    assert "Examples:" in out
    assert f"lumbar-node {command}" in out
    assert "Exit status:" in out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("selct",), "Did you mean 'select', 'selftest'?; see `lumbar-node --help`"),
        (("select",), "missing argument 'PATH'; see `lumbar-node select --help`"),
        (("jobs", "cancel", "x"), "see `lumbar-node jobs cancel --help`"),
        (("jobs", "lst"), "see `lumbar-node jobs --help`"),
        (
            ("list", "--state", "recieving"),
            'did you mean "receiving"?; see `lumbar-node list --help`',
        ),
        (("select", "nowhere"), "nowhere: no such file or folder"),
        (("check-config",), "config.toml: cannot be read"),
        (("status",), "config.toml: cannot be read"),
        (("process", "nowhere", "--send"), "config.toml: cannot be read"),
    ],
)
def test_wrong_usage_is_one_line_and_exit_2(
    said: Said, arguments: tuple[str, ...], message: str
) -> None:
    code, _, err = said(*arguments)
    assert code == 2
    assert message in err
    assert err.startswith("lumbar-node: ")
    assert err.count("\n") == 1


@pytest.mark.parametrize("arguments", [(), ("jobs",), ("models",), ("bench",)])
def test_bare_command_prints_its_help(said: Said, arguments: tuple[str, ...]) -> None:
    code, out, err = said(*arguments)
    assert (code, err) == (0, "")
    assert out == said(*arguments, "--help")[1]
    assert "Commands:" in out


def _every_command(command: Any, name: str) -> Iterator[str]:
    yield name
    for word, inner in getattr(command, "commands", {}).items():
        yield from _every_command(inner, f"{name} {word}".strip())


@pytest.mark.parametrize("command", sorted(_every_command(typer.main.get_command(app), "")))
def test_help_fits_80_columns_and_nothing_is_cropped(
    said: Said, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERMINAL_WIDTH", "80")
    code, out, _ = said(*command.split(), "--help")
    assert code == 0
    assert [line for line in out.splitlines() if len(line) > 80] == []
    commands = out.partition("Commands:")[2].splitlines()
    assert [line for line in commands if line.endswith("...")] == []


def test_version_is_that_of_the_distribution(said: Said) -> None:
    assert said("--version") == (0, f"lumbar-node {version('lumbar-node')}\n", "")


def test_unwritable_out_is_refused_before_any_work(said: Said, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for command in (("process", "nowhere"), ("demo",)):
        code, _, err = said(*command, "--out", tmp_path / "file" / "results")
        assert code == 2
        assert (
            f"{tmp_path / 'file'} is a file; choose a folder; see `lumbar-node {command[0]}" in err
        )


def test_unknown_key_is_named_with_its_line(said: Said, tmp_path: Path) -> None:
    _config(tmp_path, "prot = 1\n")
    code, _, err = said("check-config")
    assert code == 2
    assert 'config.toml:3: unknown key "node.prot"; did you mean "port"?' in err


def test_check_config_prints_the_effective_file_and_tries_destinations(
    said: Said, tmp_path: Path
) -> None:
    _config(
        tmp_path,
        '[[node.destination]]\nname = "out"\nkind = "folder"\npath = "out"\n'
        '[[node.destination]]\nname = "web"\nkind = "dicomweb"\nurl = "http://127.0.0.1:9/d"\n',
    )
    code, out, err = said("check-config")
    assert code == 5
    assert "quiet_seconds = 30.0" in out
    assert f"out: folder {tmp_path / 'out'} can be made in {tmp_path}" in out
    assert "destination web: http://127.0.0.1:9/d does not respond" in err
    assert said("check-config", "--offline")[0] == 0
    assert said("echo", "out")[0] == 0
    assert [p.name for p in tmp_path.iterdir()] == ["config.toml"]


def test_check_config_says_where_each_value_came_from(
    said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _config(tmp_path, "[track]\nquiet_seconds = 7\nsettle_seconds = 30\n")
    monkeypatch.setenv("LUMBAR_NODE__NODE__PORT", "104")
    code, out, _ = said("check-config", "--offline")
    assert code == 0
    assert out.startswith("# config.toml\n")
    assert "\nport = 104  # LUMBAR_NODE__NODE__PORT\n" in out
    assert "\nquiet_seconds = 7.0  # config.toml:4\n" in out
    assert "\nsettle_seconds = 30.0\n" in out
    assert tomllib.loads(out)["node"]["port"] == 104
    shown = json.loads(said("check-config", "--offline", "--json")[1])
    assert shown["sources"]["node.port"] == "LUMBAR_NODE__NODE__PORT"
    assert shown["node"]["port"] == 104


def test_check_config_offline_reads_the_files_of_secrets(
    said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    web = '[[node.destination]]\nname = "w"\nkind = "dicomweb"\nurl = "http://127.0.0.1:9/d"\n'
    _config(tmp_path, f'{web}authorization_file = "token"\n')
    code, out, err = said("check-config", "--offline")
    assert code == 2
    assert f'"node.destination.authorization_file": {tmp_path / "token"}: No such file' in err
    (tmp_path / "token").write_text("Bearer hunter2")
    code, out, err = said("check-config", "--offline")
    assert (code, err) == (0, "")
    assert "hunter2" not in out
    _config(tmp_path, f'{web}authorization_file = "credential:token"\n')
    code, _, err = said("check-config", "--offline")
    assert code == 0, "only the service can tell"
    assert "$CREDENTIALS_DIRECTORY is not set" in err
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", str(tmp_path / "absent"))
    assert said("check-config", "--offline")[0] == 2


def test_the_file_is_found_by_the_variable(
    said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    _config(elsewhere)
    monkeypatch.setenv("LUMBAR_NODE_CONFIG", str(elsewhere / "config.toml"))
    code, out, _ = said("check-config", "--offline")
    assert code == 0
    assert f'state = "{elsewhere / "state"}"' in out
    monkeypatch.setenv("LUMBAR_NODE_CONFIG", str(tmp_path / "absent.toml"))
    code, _, err = said("status")
    assert code == 2
    assert f"{tmp_path / 'absent.toml'}: cannot be read (No such file or directory)" in err


def test_echo_names_the_nearest_destination(said: Said, tmp_path: Path) -> None:
    _config(tmp_path, '[[node.destination]]\nname = "pacs"\nkind = "folder"\npath = "o"\n')
    code, _, err = said("echo", "pasc")
    assert code == 2
    assert 'no destination "pasc"; did you mean "pacs"?' in err
    code, out, _ = said("echo", "pacs", "--json")
    assert code == 0
    assert json.loads(out)[0]["answers"] is True


def test_internal_error_is_one_line_with_the_log(
    said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("a bug")

    monkeypatch.setattr(offline, "read_config", broken)
    (tmp_path / "x").mkdir()
    code, _, err = said("select", tmp_path / "x")
    assert code == 1
    log = Path(err.strip().rsplit(" ", 1)[1])
    assert "a bug" in log.read_text()
    log.unlink()


def test_internal_error_of_the_service_names_its_places_in_the_line(
    said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object, **__: object) -> None:
        raise RuntimeError("Test^Patient")

    monkeypatch.setattr("node.cli.service.read_config", broken)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path / "private"))
    (tmp_path / "private").mkdir()
    code, _, err = said("serve")
    assert code == 1
    assert "internal error (RuntimeError); places, innermost first: test_app.py:" in err
    assert " broken < service.py:" in err
    assert "Test^Patient" not in err
    assert len(err.strip().splitlines()) == 1
    assert list((tmp_path / "private").iterdir()) == []


def test_another_package_of_our_name_is_refused(
    said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(packages, "PACKAGES", ("dicomseg", "json"))
    code, _, err = said("select", tmp_path)
    assert code == 2
    assert "package json comes from" in err
    assert "use a fresh environment" in err


# ---- select and process --------------------------------------------------------------------------


def test_select_tells_verdict_and_reasons(said: Said, tmp_path: Path, write_series: Any) -> None:
    write_series(tmp_path / "study")
    write_series(tmp_path / "study", series="1.2.4", InversionTime=1800.0, SeriesNumber=4)
    (tmp_path / "study" / "notes.txt").write_text("no DICOM")
    code, out, err = said("select", "study", "--json")
    rows = {r["series"]: r for r in json.loads(out)}
    assert code == 0
    assert rows["1.2.3"]["verdict"] == "eligible"
    assert rows["1.2.4"]["verdict"] == "skipped"
    assert "TI 1800 ms (a FLAIR)" in rows["1.2.4"]["reasons"][0]
    assert "lumbar-node: skipped file: notes.txt: not a DICOM object" in err
    code, out, _ = said("select", "study")
    assert "a FLAIR" in out


@pytest.mark.parametrize(
    ("changes", "slices", "verdict", "message"),
    [
        ({}, 3, "refused", "3 slices; at least 12 are needed"),
        ({"EchoTime": 30.0}, 14, "skipped", "TE 30 ms is below 60 ms"),
        ({"MRAcquisitionType": "2D"}, 14, "skipped", "MR Acquisition Type 2D"),
    ],
)
def test_nothing_eligible_is_exit_3_with_the_reason(
    said: Said, tmp_path: Path, write_series: Any, changes: dict[str, Any], slices: int, verdict: str, message: str
) -> None:  # fmt: skip
    write_series(tmp_path / "s", slices=slices, **changes)
    code, out, err = said("select", "s", "--json")
    (row,) = json.loads(out)
    assert code == 3
    assert row["verdict"] == verdict
    assert any(message in r for r in row["reasons"])
    assert "no eligible series" in err


def _other_echo(paths: list[Path]) -> None:
    _change(paths[4], EchoTime=100.0)


def _other_frame(paths: list[Path]) -> None:
    _change(paths[4], FrameOfReferenceUID="1.2.77")


def _lost_slice(paths: list[Path]) -> None:
    paths[4].unlink()


def _change(path: Path, **changes: object) -> None:
    from pydicom import dcmread

    ds = dcmread(path)
    for keyword, value in changes.items():
        setattr(ds, keyword, value)
    ds.save_as(path, enforce_file_format=True)


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (
            _other_echo,
            "instance 5: echo time differs from TE 189 ms; the other slices: 1 of 14 slices missing",
        ),
        (
            _other_frame,
            "instance 5: frame of reference differs from 1.2.9; the other slices: 1 of 14 slices missing",
        ),
        (_lost_slice, "1 of 14 slices missing"),
    ],
)
def test_broken_series_is_incomplete_and_process_refuses_it(
    said: Said, tmp_path: Path, write_series: Any, spoil: Any, message: str
) -> None:
    spoil(write_series(tmp_path / "s"))
    code, out, _ = said("select", "s", "--json")
    (row,) = json.loads(out)
    assert (code, row["verdict"]) == (3, "incomplete")
    assert message in row["reasons"][0]
    code, out, _ = said("process", "s")
    assert code == 4
    assert message in out


def test_any_sequence_leaves_the_rules_aside_but_not_geometry(
    said: Said, tmp_path: Path, write_series: Any
) -> None:
    write_series(tmp_path / "tse", MRAcquisitionType="2D", EchoTime=100.0)
    write_series(tmp_path / "small", series="1.2.4", slices=3)
    assert said("select", "tse", "--any-sequence")[0] == 0
    assert said("select", "small", "--any-sequence")[0] == 3


def test_series_that_is_not_there_is_exit_3(said: Said, tmp_path: Path, write_series: Any) -> None:
    write_series(tmp_path / "s")
    code, _, err = said("select", "s", "--series", "9.9")
    assert code == 3
    assert "series 9.9 is not under the given paths" in err


def test_folder_without_dicom_is_exit_3(said: Said, tmp_path: Path) -> None:
    (tmp_path / "s").mkdir()
    (tmp_path / "s" / "a.txt").write_text("text")
    code, _, err = said("process", "s")
    assert code == 3
    assert "no DICOM objects under the given paths" in err
    assert "a.txt: not a DICOM object" in err


def test_process_without_a_bundle_is_exit_6(said: Said, tmp_path: Path, write_series: Any) -> None:
    write_series(tmp_path / "s")
    code, _, err = said("process", "s", "--bundle", tmp_path / "no-bundle")
    assert code == 6
    assert "no-bundle/card.json: cannot be read (No such file or directory); name a folder" in err


# ---- the journal's view --------------------------------------------------------------------------


def test_no_journal_says_what_to_do(said: Said, tmp_path: Path) -> None:
    _config(tmp_path)
    code, _, err = said("list")
    assert code == 2
    assert "no journal; start `lumbar-node serve`" in err


def test_status_list_and_why_tell_one_story(said: Said, tmp_path: Path) -> None:
    journal = _journal(tmp_path)
    journal.series.advance(KEY, SeriesEvent.WENT_QUIET, detail={"reason": "1 of 9 slices missing"})
    code, out, _ = said("status", "--json")
    assert code == 0
    assert json.loads(out)["counts"] == {"incomplete": 1, "instance.stored": 1}
    code, out, _ = said("list", "--state", "incomplete", "--json")
    assert [r["reason"] for r in json.loads(out)] == ["1 of 9 slices missing"]
    assert said("list", "--state", "failed", "--json")[1].strip() == "[]"
    for uid in ("1.2.1", "1.2.3", "1.2.3.4"):
        code, out, _ = said("why", uid, "--json")
        assert code == 0
        assert json.loads(out)[0]["state"] == "incomplete"
    code, out, _ = said("why", "1.2.3")
    assert "incomplete since" in out
    assert "send what the reason names" in out
    journal.close()


def test_unknown_uid_is_exit_3(said: Said, tmp_path: Path) -> None:
    _journal(tmp_path).close()
    for command in ("why", "retry"):
        code, _, err = said(command, "9.9")
        assert code == 3
        assert "9.9 is not in the journal" in err


def test_retry_brings_back_what_can_be_and_names_what_cannot(said: Said, tmp_path: Path) -> None:
    journal = _journal(tmp_path)
    code, _, err = said("retry", "1.2.3")
    assert code == 3
    assert "nothing to retry, the series is receiving" in err
    journal.series.advance(KEY, SeriesEvent.WENT_QUIET)
    code, out, err = said("retry", "9.9", "1.2.3", "--json")
    assert code == 3
    assert json.loads(out) == [{"study": "1.2.1", "series": "1.2.3"}]
    assert journal.series.get(KEY).state == "complete"
    journal.close()


def test_doctor_finds_what_is_missing_and_what_nobody_knows(said: Said, tmp_path: Path) -> None:
    _journal(tmp_path).close()
    assert said("doctor")[:2] == (0, "journal and disk agree\n")
    spool = tmp_path / "state" / "spool"
    (spool / "a.dcm").rename(spool / "b.dcm")
    code, out, _ = said("doctor", "--json")
    assert code == 1
    assert [f["kind"] for f in json.loads(out)] == ["object-missing", "object-unknown"]


def test_full_disk_is_one_line_even_without_room_for_the_log(monkeypatch: Any, capsys: Any) -> None:
    def full(*_: Any, **__: Any) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("node.cli.status.read_config", full)
    monkeypatch.setattr("tempfile.NamedTemporaryFile", full)
    assert run(["status"]) == 1
    assert capsys.readouterr().err == (
        "lumbar-node: internal error (OSError: No space left on device);"
        " no log could be written (No space left on device)\n"
    )


def test_serve_and_demo_hand_over(
    said: Said, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from node.service import service as running

    _config(tmp_path)
    given = []
    monkeypatch.setattr(running, "serve", lambda *a: given.append(a) or 0)
    assert said("serve")[0] == 0
    assert given[0][1] == tmp_path / "config.toml"
    assert service.serve.__doc__ is not None


@pytest.mark.slow
def test_module_runs_and_help_is_quick(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "node", "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=tmp_path,
    )
    assert done.returncode == 0
    loaded = {line.split("|")[-1].strip() for line in done.stderr.splitlines()}
    assert loaded.isdisjoint({"torch", "pydicom", "pynetdicom", "highdicom", "numpy", "httpx"})
