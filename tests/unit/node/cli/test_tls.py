"""What `check-config`, `status` and `doctor` say about `[tls]` and about who may send."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from node.cli.app import run
from node.journal.journal import Journal
from tests.support.certificates import Authority, Pair, needs_openssl

pytestmark = [pytest.mark.process, needs_openssl]


@pytest.fixture
def site(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, authority: Authority
) -> Callable[[Pair], None]:
    """Put a pair and a configuration that uses it into an empty folder."""
    monkeypatch.chdir(tmp_path)
    Journal.open(tmp_path / "state" / "journal.sqlite", lambda: 1_700_000_000.0).close()

    def put(pair: Pair) -> None:
        shutil.copy(pair.certificate, "lumbar.crt")
        shutil.copy(pair.key, "lumbar.key")
        shutil.copy(authority.certificate, "ca.crt")
        Path("config.toml").write_text(
            '[node]\nae_title = "NODE"\n[receive]\ntls = "mutual"\n[tls]\n'
            'certificate = "lumbar.crt"\nprivate_key = "lumbar.key"\ntrusted = "ca.crt"\n'
        )

    return put


def test_files_in_order_are_not_mentioned(
    site: Callable[[Pair], None], issued: Callable[[str], Pair], capsys: pytest.CaptureFixture[str]
) -> None:
    site(issued("node"))
    assert run(["check-config", "--offline"]) == 0
    assert "[tls]" not in capsys.readouterr().err
    assert run(["status"]) == 0
    assert "nothing needs attention" in capsys.readouterr().out


def test_certificate_that_ends_soon_is_named_by_all_three(
    site: Callable[[Pair], None], authority: Authority, capsys: pytest.CaptureFixture[str]
) -> None:
    site(authority.issue("short", days=10))
    assert run(["check-config", "--offline"]) == 0
    assert ", in 9 days; replace the file" in capsys.readouterr().err
    assert run(["status"]) == 0
    out = capsys.readouterr().out
    assert "1 × certificate " in out
    assert "lumbar.crt expiring: ends on " in out
    assert run(["doctor"]) == 1
    assert "certificate-expiring: " in capsys.readouterr().out


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda: Path("lumbar.key").chmod(0o644), "chmod 600"),
        (lambda: Path("ca.crt").unlink(), "ca.crt: No such file or directory"),
        (lambda: shutil.copy("ca.crt", "lumbar.crt"), "does not belong to certificate"),
    ],
)
def test_file_that_cannot_be_used_is_one_line_and_code_2(
    site: Callable[[Pair], None], issued: Callable[[str], Pair],
    capsys: pytest.CaptureFixture[str], spoil: Callable[[], object], words: str,
) -> None:  # fmt: skip
    site(issued("node"))
    spoil()
    for command in (["check-config", "--offline"], ["check-config"], ["echo"]):
        assert run(command) == 2
        (line,) = [t for t in capsys.readouterr().err.splitlines() if "[tls]" in t]
        assert words in line
    assert run(["status"]) == 0
    assert f"[tls] unusable: {'[tls]'}" in capsys.readouterr().out


def test_service_does_not_start_with_a_key_that_others_may_read(
    site: Callable[[Pair], None], issued: Callable[[str], Pair]
) -> None:
    site(issued("node"))
    Path("lumbar.key").chmod(0o644)
    started = subprocess.run(
        [sys.executable, "-m", "node", "serve"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert started.returncode == 2
    (line,) = started.stderr.strip().splitlines()[-1:]
    assert "is open to every user of this machine; chmod 600" in line


def test_a_node_that_every_peer_may_send_to_is_warned_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    open_to_all = '[node]\nae_title = "NODE"\nhost = "0.0.0.0"\n'
    caller = '[[receive.caller]]\nname = "mr"\nae_title = "MR"\naddresses = ["10.1.2.3"]\n'
    warned = []
    for text in (open_to_all, open_to_all + caller, open_to_all.replace("0.0.0.0", "127.0.0.1")):  # noqa: S104
        Path("config.toml").write_text(text)
        assert run(["check-config", "--offline"]) == 0
        warned.append("every peer that reaches 0.0.0.0" in capsys.readouterr().err)
    assert warned == [True, False, False]
