"""The state directory as the systemd unit makes it, 0750: a member of the service's group asks, another user may not.

Images, results and the audit trail are for the service's user alone.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.mr_series import KEY
from tests.support.senders import send_files
from tests.support.threaded_node import Running, until

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(os.getuid() != 0, reason="only root can ask as another user"),
]
GROUP, OTHER = 64_111, 64_222

_ASK = """
import os, sys
group, config, commands = int(sys.argv[1]), sys.argv[2], [c.split() for c in sys.argv[3:]]
from node.cli.app import run
for command in commands:  # as root: the tests' own interpreter may lie where no other user may look
    sys.stdout = sys.stderr = open(os.devnull, "w")
    run([*command, "--config", config])
os.setgroups([]); os.setgid(group); os.setuid(64_333)
for command in commands:
    sys.stdout = sys.stderr = sys.__stdout__
    print("$", *command, "->", run([*command, "--config", config]), flush=True)
"""


@pytest.fixture
def node(threaded_node: Running) -> Iterator[Running]:
    """A node that has received a series, in a folder that other users may pass; it is not stopped."""
    folder = Path(tempfile.mkdtemp(prefix="lumbar-test-"))
    folder.chmod(0o755)
    here = Running(folder / "config.toml", threaded_node.port, threaded_node.workers)
    here.path.write_text(threaded_node.path.read_text())
    here.path.chmod(0o644)  # as the package installs it, whatever the umask here
    here.state.mkdir()
    here.state.chmod(
        0o2750
    )  # files get its group, as those of the service get the group of its unit
    os.chown(here.state, 0, GROUP)
    umask = os.umask(0o077)
    try:
        yield here.start()
    finally:
        os.umask(umask)
        here.stop()
        shutil.rmtree(folder)


def _ask(here: Running, group: int, *commands: str) -> dict[str, tuple[int, str]]:
    """Exit status and output of each command, as a user of a group asks."""
    asked = subprocess.run(
        [sys.executable, "-c", _ASK, str(group), str(here.path), *commands],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    answers, text = {}, ""
    for line in asked.stdout.splitlines():
        if line.startswith("$ "):
            command, _, status = line[2:].partition(" -> ")
            answers[command], text = (int(status), text), ""
        else:
            text += line + "\n"
    assert set(answers) == set(commands), asked.stdout + asked.stderr
    return answers


def test_a_member_of_the_group_asks_and_sees_no_image(
    node: Running, tmp_path: Path, write_series: Any
) -> None:
    assert set(send_files(node.port, *write_series(tmp_path / "in", PatientID="PID4711"))) == {0}
    until(lambda: "SeriesTracked" in node.events())
    questions = (
        "status",
        "list --identity",
        f"why {KEY.series}",
        "jobs list",
        "models list",
    )
    closed = ("audit show", "doctor --quick")
    answers = _ask(node, GROUP, "health", *questions, *closed)
    assert "read by this user" not in answers["health"][1]  # on a busy machine it may be unhealthy
    assert {c: answers[c][0] for c in questions} == dict.fromkeys(questions, 0), answers
    assert KEY.series in answers["list --identity"][1]
    assert "PID4711" not in answers["list --identity"][1], "the patient id is in the image"
    for command in closed:
        code, text = answers[command]
        assert (code, text.count("\n")) == (2, 1), text
        assert "only user root may look into it; ask as that user" in text
    for code, text in _ask(node, OTHER, "status", "list").values():
        assert code == 2
        assert text.endswith("ask as the node's user or as a member of its group\n"), text

    open_to_group = {p.name for p in node.state.rglob("*") if p.stat().st_mode & 0o077}
    assert open_to_group == {"journal.sqlite", "journal.sqlite-wal", "journal.sqlite-shm", "lock"}
    assert {p.stat().st_mode & 0o037 for p in node.state.rglob("*")} == {0}


def test_the_unit_makes_the_directory_that_this_module_tries() -> None:
    unit = (Path(__file__).parents[3] / "deploy" / "systemd" / "lumbar-node.service").read_text()
    assert "\nUMask=0077\n" in unit
    assert "\nStateDirectoryMode=0750\n" in unit
