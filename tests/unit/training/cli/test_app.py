"""`lumbar-train` on the command line: help, version, usage errors, and outputs checked before work."""

from __future__ import annotations

import re
from importlib.metadata import version
from pathlib import Path

import pytest
import typer

from training.cli import app as cli
from training.cli.options import writable_file, writable_folder


def _last_line(capture: pytest.CaptureFixture[str]) -> str:
    return capture.readouterr().err.strip().splitlines()[-1]


def test_a_bare_program_prints_its_help_as_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run([]) == 0
    out, err = capsys.readouterr()
    assert out.startswith("Usage: lumbar-train [OPTIONS] COMMAND")
    assert err == ""


def test_the_version_is_that_of_the_distribution(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--version"]) == 0
    assert capsys.readouterr().out == f"lumbar-train {version('lumbar-node')}\n"


@pytest.mark.parametrize(
    ("arguments", "line"),
    [
        (["fit"], "lumbar-train: missing option '--cases'; see `lumbar-train fit --help`"),
        (
            ["phantom", "--out", "x", "--cases", "0"],
            "lumbar-train: invalid value for '--cases': Input should be greater than or equal to 1; see `lumbar-train phantom --help`",
        ),
        (["xyz"], "lumbar-train: no such command 'xyz'; see `lumbar-train --help`"),
        (
            ["train"],
            "lumbar-train: no such command 'train'. Did you mean 'retrain'? See `lumbar-train --help`",
        ),
        (
            ["prepare", "--out", "x"],
            "lumbar-train: no source of cases; give --phantoms N, --varied N, --lumbar N, --spider FOLDER or --shapes FOLDER",
        ),
    ],
)
def test_a_usage_error_is_one_line_that_names_the_help_of_its_command(
    arguments: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.run(arguments) == 2
    assert capsys.readouterr().err == line + "\n"


def test_every_help_has_examples_and_exit_status_in_eighty_columns(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for width in ("COLUMNS", "TERMINAL_WIDTH"):
        monkeypatch.setenv(width, "80")
    command = typer.main.get_command(cli.app)
    names = list(command.commands)  # type: ignore[attr-defined]
    assert cli.run([]) == 0
    lines = capsys.readouterr().out.partition("Commands:")[2].splitlines()
    assert [line for line in lines if line.endswith("...") or len(line) > 80] == []
    assert len(names) == len(cli.COMMANDS) + 1  # `retrain` and `held-out` share a module
    for name in names:
        assert cli.run([name, "--help"]) == 0
        text = capsys.readouterr().out
        assert re.search(rf"\n  Examples:\n(    .+\n)*    lumbar-train {name} ", text), text
        assert "\n  Exit status: 0 " in text, text
        assert [line for line in text.splitlines() if len(line) > 80] == []


_IN_A_FILE = [
    ("level", ["--cases", "none"], "--out", "file"),
    ("roots", ["--cases", "none", "--bundle", "none"], "--out", "file"),
    ("evaluate", ["--cases", "none"], "--out", "file"),
    ("evaluate", ["--cases", "none"], "--csv", "file"),
    ("evaluate", ["--cases", "none"], "--card", "file"),
    ("shifts", ["--cases", "none"], "--out", "file"),
    ("held-out", ["--cases", "none"], "--out", "file"),
    ("fit", ["--cases", "none"], "--out", "folder"),
    ("crossval", ["--cases", "none"], "--out", "folder"),
    ("check-real", ["none"], "--out", "folder"),
    ("retrain", ["--cases", "none", "--held-out", "none"], "--out", "folder"),
    ("report", ["--cases", "none", "--results", "none"], "--out", "folder"),
    ("import", ["--licence", "x"], "--out", "folder"),
    ("export", ["--run", "none", "--level", "none", "--version", "1"], "--out", "folder"),
    ("phantom", [], "--out", "folder"),
    ("prepare", ["--phantoms", "1"], "--out", "folder"),
    ("to-nnunet", ["--cases", "none"], "--out", "folder"),
]


@pytest.mark.parametrize(("command", "options", "name", "kind"), _IN_A_FILE)
def test_an_output_below_a_file_is_refused_before_anything_else(
    command: str,
    options: list[str],
    name: str,
    kind: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "taken").write_bytes(b"")
    out = tmp_path / "taken" / "below"
    assert cli.run([command, *options, name, str(out)]) == 2
    assert _last_line(capsys) == (
        f"lumbar-train: invalid value for '{name}': {tmp_path / 'taken'} is a file;"
        f" choose a folder; see `lumbar-train {command} --help`"
    )


def test_an_output_that_the_system_refuses_is_named_with_the_reason() -> None:
    if not Path("/proc/self").is_dir():
        pytest.skip("needs a file system that cannot be written")
    with pytest.raises(typer.BadParameter, match=r"/proc/self cannot be written \(.+\); choose"):
        writable_folder(Path("/proc/self/results"))
    with pytest.raises(typer.BadParameter, match=r"/proc/self cannot be written"):
        writable_file(Path("/proc/self/results.json"))


def test_an_output_that_can_be_written_is_left_as_it_is(tmp_path: Path) -> None:
    file = tmp_path / "a" / "b.json"
    assert writable_file(file) == file
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]
    assert not list((tmp_path / "a").iterdir())
    file.write_bytes(b"kept")
    assert writable_file(file) == file
    assert file.read_bytes() == b"kept"
    assert writable_folder(tmp_path / "new") == tmp_path / "new"
    assert not (tmp_path / "new").exists()
    with pytest.raises(typer.BadParameter, match="is a folder; name a file"):
        writable_file(tmp_path)
    assert writable_file(None) is None


def test_an_unexpected_fault_ends_with_one_line_below_the_traceback(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from training.phantom import study

    def fail(*_: object) -> None:
        raise ZeroDivisionError("secret")

    monkeypatch.setattr(study, "write_study", fail)
    assert cli.run(["phantom", "--out", str(tmp_path)]) == 1
    assert _last_line(capsys) == (
        "lumbar-train: internal error (ZeroDivisionError); the traceback is above"
    )


def test_a_service_without_the_training_s_packages_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    from training.phantom import study

    def fail(*_: object) -> None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(study, "write_study", fail)
    assert cli.run(["phantom", "--out", str(tmp_path)]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "lumbar-train: torch is missing; run `make install`, or install pip's extra train"
    )
