"""Studies on a cluster whose workers are killed and frozen: every result once, and the same as without it."""

from __future__ import annotations

import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pydicom
import pytest

pytest.importorskip("distributed")

from node.journal.journal import Journal
from node.journal.states import SeriesEvent
from tests.support.certificates import needs_openssl
from tests.support.clusters import (
    PLAIN,
    Cluster,
    begun,
    cluster,
    processed,
    studies,
    trial_study,
    until,
)
from tests.support.sites import Site

pytestmark = [pytest.mark.servers, pytest.mark.slow, needs_openssl, pytest.mark.timeout(600)]

STUDIES = 3
"""As many as CI has the minute for; the twelve of a release are `docs/benchmarks.md`."""


def _histories(journal: Journal) -> Counter[str]:
    rows = journal.series.in_states()
    return Counter(e.event for row in rows for e in journal.series.events(row.key))


@pytest.fixture
def made(tmp_path: Path, oracle_bundle: Path) -> Iterator[Cluster]:
    with cluster(tmp_path / "cluster", oracle_bundle) as here:
        here.slow(1.0)
        here.start_scheduler()
        yield here


def test_a_killed_and_a_frozen_worker_lose_and_double_nothing(
    made: Cluster, site: Callable[..., Site], oracle_bundle: Path, tmp_path: Path
) -> None:
    first, second = made.start_worker("first"), made.start_worker("second")
    here = site(
        bundle=oracle_bundle,
        extra=f'{PLAIN}{made.section("node")}[work]\nengine = "dask"\nprocesses = 2\n',
    )
    all_studies = studies(trial_study(tmp_path / "trial"), STUDIES, tmp_path / "studies")
    for files in all_studies:
        here.send(files)

    until(lambda: begun(first) > 0)
    os.kill(first.process.pid, signal.SIGKILL)  # in the middle of a segmentation
    first.process.wait(10)
    made.start_worker("first")  # as its unit does
    until(lambda: begun(second) > 0)
    os.kill(second.process.pid, signal.SIGSTOP)

    rows = here.wait(STUDIES, 90.0)
    assert [row.state for row in rows] == ["delivered"] * STUDIES
    journal = here.journal
    results = {journal.results.of_series(row.key)[0].result_id for row in rows}
    assert all(len(journal.results.of_series(row.key)) == 1 for row in rows)
    seen = _histories(journal)
    assert seen[SeriesEvent.RESULTS_PUBLISHED] == STUDIES
    assert 1 <= seen[SeriesEvent.CLAIM_LOST] <= 4

    local = here.folder / "local.toml"
    local.write_text(here.config.read_text().replace('engine = "dask"', 'engine = "local"'))
    alone = processed(local, tmp_path / "studies", tmp_path / "alone")
    assert set(alone) == results
    for name, folder in alone.items():
        ours = pydicom.dcmread(here.folder / "delivered" / name / "seg.dcm")
        theirs = pydicom.dcmread(folder / "seg.dcm")
        assert ours.SOPInstanceUID == theirs.SOPInstanceUID
        np.testing.assert_array_equal(ours.pixel_array, theirs.pixel_array)
