"""A program on an untrusted file: its time, memory and output have bounds, and it is found out how it ended."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from node.verify import child
from node.verify.child import run_child

pytestmark = pytest.mark.process


def _python(code: str, scratch: Path) -> child.Ended:
    return run_child([sys.executable, "-c", code], scratch)


def test_status_and_both_outputs(tmp_path: Path) -> None:
    ended = _python(
        "import sys; print('out'); sys.stderr.write('err\\n\\n'); sys.exit(3)", tmp_path
    )
    assert (ended.status, ended.output, ended.lines, ended.failure) == (
        3,
        "out\n",
        ["out", "err"],
        "",
    )


def test_a_program_that_does_not_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its children end with it."""
    monkeypatch.setattr(child, "MOST_S", 1.0)
    code = (
        "import subprocess, sys, time; p = subprocess.Popen(['sleep', '60']);"
        "print(p.pid, flush=True); time.sleep(60)"
    )
    begin = time.monotonic()
    ended = _python(code, tmp_path)
    assert time.monotonic() - begin < 20
    assert ended.failure == "no answer within 1 s"
    grandchild = Path("/proc", ended.output.strip(), "stat")
    while grandchild.exists() and grandchild.read_text().split()[2] != "Z":
        assert time.monotonic() - begin < 20, "what it started is still there"
        time.sleep(0.05)


def test_a_program_that_is_killed(tmp_path: Path) -> None:
    ended = _python("import os; os.abort()", tmp_path)
    assert ended.failure == "ended by SIGABRT"


def test_memory_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "MEMORY_LIMIT", 1 << 29)
    code = "import time; time.sleep(0.3); x = bytearray(1 << 30)"  # once the bound is set
    ended = _python(code, tmp_path)
    assert ended.status == 1
    assert ended.lines[-1] == "MemoryError"


def test_output_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(child, "FILE_LIMIT", 1 << 20)
    monkeypatch.setattr(child, "OUTPUT_LIMIT", 1000)
    code = "import time; time.sleep(0.3); print('x' * (8 << 20))"
    ended = _python(code, tmp_path)
    assert ended.failure == "ended by SIGXFSZ" or ended.status == 1
    assert len(ended.output) <= 1000
    assert (tmp_path / "stdout.txt").stat().st_size <= 1 << 20


def test_what_a_program_knows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Home and temporary files are its own folder; secrets of the environment stay; the network is closed."""
    monkeypatch.setenv("NODE_PASSWORD", "secret")
    code = (
        "import os, tempfile; print(os.getcwd()); print(os.path.expanduser('~'));"
        "print(tempfile.gettempdir()); print(sorted(os.environ))"
    )
    ended = _python(code, tmp_path)
    assert ended.output.splitlines()[:3] == [str(tmp_path)] * 3
    assert "NODE_PASSWORD" not in ended.output
    assert "https_proxy" in ended.output
    assert "NODE_PASSWORD" in os.environ
