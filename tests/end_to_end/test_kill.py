"""SIGKILL while receiving and while segmenting: nothing is lost, and the result is the same."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from node.demo import servers
from tests.support.phantoms import Truth
from tests.support.sites import Site

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(600)]

PLAIN = "[results]\npictures = false\n"
"""What draws the pictures is killed in the tests of the companion."""
KILLED_AFTER = 20
"""Objects that the node has kept when it is killed while receiving."""


def _result_id(site: Site) -> str:
    (row,) = site.wait(1)
    assert row.state == "delivered", row.reason
    (result,) = site.journal.results.of_series(row.key)
    return str(result.result_id)


def _kill(site: Site) -> None:
    process = site.running.pop().process
    os.kill(process.pid, signal.SIGKILL)
    process.wait(10)


def _process(site: Site, series: Path, out: Path, *options: str) -> set[str]:
    """Run `lumbar-node process` with the site's configuration; returns the results in its folder."""
    command = [servers.command("lumbar-node"), "process", str(series), "--out", str(out)]
    done = subprocess.run(
        [*command, "--config", str(site.config), *options],
        capture_output=True, text=True, check=False, timeout=200,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return {p.parent.name for p in out.glob("*/result.json")}


@pytest.fixture(scope="module")
def prepared(module_site: Callable[..., Site], small_coded: Truth, oracle_bundle: Path) -> Site:
    """A node that has received the series and was stopped before it was complete."""
    site = module_site(bundle=oracle_bundle, extra=PLAIN)
    site.send(small_coded.files)
    site.stop()
    return site


@pytest.fixture(scope="module")
def undisturbed(prepared: Site, small_coded: Truth) -> tuple[str, Path]:
    """The result that nothing came between, and its folder of results."""
    out = prepared.folder / "processed"
    (result_id,) = _process(prepared, small_coded.series, out)
    return result_id, out


def test_a_kill_while_receiving_loses_nothing_acknowledged(
    site: Callable[..., Site],
    small_coded: Truth,
    oracle_bundle: Path,
    undisturbed: tuple[str, Path],
) -> None:
    here = site(bundle=oracle_bundle, extra=PLAIN)
    command = ["storescu", "-v", "-aet", servers.SCANNER_AET, "-aec", servers.NODE_AET]
    sender = subprocess.Popen(
        [*command, "127.0.0.1", str(here.ports.node), *map(str, small_coded.files)],
        env=servers.dcmtk_environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    journal = here.journal
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if sum(r.instances for r in journal.series.in_states()) >= KILLED_AFTER:
            break
        time.sleep(0.01)
    _kill(here)
    output, _ = sender.communicate(timeout=60)
    acknowledged = output.count("Received Store Response (Success)")
    (row,) = journal.series.in_states()
    stored = journal.instances.of_series(row.key)
    # The last is kept before it is acknowledged; all before it were acknowledged.
    assert KILLED_AFTER - 1 <= acknowledged <= len(stored) < len(small_coded.files)
    state = here.folder / "state"
    assert all((state / i.path).exists() for i in stored)
    here.start()
    here.send(small_coded.files)
    assert _result_id(here) == undisturbed[0]


def test_a_kill_while_segmenting_ends_in_the_same_result(
    site: Callable[..., Site],
    prepared: Site,
    small_coded: Truth,
    oracle_bundle: Path,
    undisturbed: tuple[str, Path],
) -> None:
    here = site(bundle=oracle_bundle, state=prepared.folder / "state", extra=PLAIN)
    journal = here.journal
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline:
        if any(r.state == "processing" for r in journal.series.in_states()):
            break
        time.sleep(0.01)
    _kill(here)  # the worker ends with its parent
    (row,) = journal.series.in_states()
    assert row.state == "processing"
    here.start()
    assert _result_id(here) == undisturbed[0]
    (row,) = journal.series.in_states()
    assert len(journal.instances.of_series(row.key)) == len(small_coded.files)


def test_process_finds_the_result_of_a_series_and_makes_another_when_forced(
    prepared: Site, small_coded: Truth, undisturbed: tuple[str, Path]
) -> None:
    result_id, out = undisturbed
    assert _process(prepared, small_coded.series, out) == {result_id}
    results = _process(prepared, small_coded.series, out, "--force")
    assert len(results) == 2
    assert result_id in results
