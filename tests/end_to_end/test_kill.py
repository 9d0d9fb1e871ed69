"""SIGKILL while receiving and while segmenting: nothing is lost, and the result is the same."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from node.demo import servers

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(600)]


def _result_id(here: Any) -> str:
    (row,) = here.wait(1)
    assert row.state == "delivered", row.reason
    (result,) = here.journal.results.of_series(row.key)
    return str(result.result_id)


def _kill(running: servers.Running) -> None:
    os.kill(running.process.pid, signal.SIGKILL)
    running.process.wait(10)


def test_a_kill_while_receiving_loses_nothing_acknowledged(
    site: Callable[..., Any], coded: Any, oracle_bundle: Path
) -> None:
    undisturbed = site(bundle=oracle_bundle)
    undisturbed.send(coded.files)
    expected = _result_id(undisturbed)
    undisturbed.stop()

    here = site(bundle=oracle_bundle)
    sender = subprocess.Popen(
        [
            "storescu",
            "-v",
            "-aet",
            servers.SCANNER_AET,
            "-aec",
            servers.NODE_AET,
            "127.0.0.1",
            str(here.ports.node),
            *map(str, coded.files),
        ],
        env=servers.dcmtk_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    journal = here.journal
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and sum(r.instances for r in journal.series.in_states()) < 40:
        time.sleep(0.01)
    _kill(here.running.pop())
    told, _ = sender.communicate(timeout=60)
    acknowledged = told.count("Received Store Response (Success)")
    (row,) = journal.series.in_states()
    stored = journal.instances.of_series(row.key)
    # The fortieth is kept before it is acknowledged; all before it were acknowledged.
    assert 39 <= acknowledged <= len(stored) < len(coded.files)
    state = here.folder / "state"
    assert all((state / i.path).exists() for i in stored)
    here.start()
    here.send(coded.files)
    assert _result_id(here) == expected


def test_a_kill_while_segmenting_ends_in_the_same_result(
    site: Callable[..., Any], coded: Any, oracle_bundle: Path
) -> None:
    here = site(bundle=oracle_bundle)
    here.send(coded.files)
    journal = here.journal
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not any(
        r.state == "processing" for r in journal.series.in_states()
    ):
        time.sleep(0.02)
    _kill(here.running.pop())  # the worker ends with its parent
    (row,) = journal.series.in_states()
    assert row.state == "processing"
    here.start()
    first = _result_id(here)
    (row,) = journal.series.in_states()
    assert len(journal.instances.of_series(row.key)) == len(coded.files)

    out = here.folder / "by-hand"
    command = [
        servers.command("lumbar-node"),
        "process",
        str(coded.folder / "t2_space"),
        "--out",
        str(out),
        "--config",
        str(here.config),
    ]
    for options, results in (((), 1), ((), 1), (("--force",), 2)):
        done = subprocess.run(
            [*command, *options], capture_output=True, text=True, check=False, timeout=200
        )
        assert done.returncode == 0, done.stderr
        found = {p.parent.name for p in out.glob("*/result.json")}
        assert len(found) == results
        assert first in found
