"""Time twelve full-size studies with the shipped bundle, here and on a cluster of this machine's processes.

`python -m tests.support.cluster_bench FOLDER [RUN …]` prints a line of the table of docs/benchmarks.md for each run:
`local`, `1`, `2` workers, `lost` (two workers, one killed and started again, one frozen).
"""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
import sys
import time
from pathlib import Path

import pydicom

from model.bundle.card import default_path
from node.demo import servers
from node.free_ports import free_ports
from node.journal.states import SeriesEvent, SeriesState
from tests.support.certificates import Authority
from tests.support.clusters import PLAIN, Cluster, begun, studies, until
from tests.support.sites import Site

STUDIES = 12
PROCESSES = {"local": 1, "1": 2, "2": 3, "lost": 3}


def _line(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def _site(folder: Path, extra: str, state: Path | None = None) -> Site:
    folder.mkdir(parents=True)
    here = Site(folder, servers.Ports(*free_ports(4)), default_path(), False, extra)
    if state is not None:
        shutil.copytree(state, folder / "state")
    here.write_config()
    text = here.config.read_text()
    here.config.write_text(text.replace("[model]\n", "[model]\nthreads = 1\n"))
    here.start()
    return here


def _received(folder: Path, cluster: Cluster) -> Path:
    """Return a state folder in which every study is selected, and none was worked on."""
    from training.phantom.study import StudyOptions, write_study

    series = write_study(folder / "phantom", 18, StudyOptions()) / "t2_space"
    here = _site(folder / "received", f'{PLAIN}{cluster.section("node")}[work]\nengine = "dask"\n')
    for files in studies(sorted(series.glob("*.dcm")), STUDIES, folder / "studies"):
        here.send(files)
    until(lambda: len(here.journal.series.in_states(SeriesState.SELECTED)) == STUDIES, 300.0)
    here.stop()
    return folder / "received" / "state"


def _disturb(workers: list[servers.Running], cluster: Cluster) -> None:
    first, second = workers
    until(lambda: begun(first) > 1, 300.0)
    os.kill(first.process.pid, signal.SIGKILL)
    first.process.wait(10)
    cluster.start_worker("w1")
    until(lambda: begun(second) > 1, 300.0)
    os.kill(second.process.pid, signal.SIGSTOP)


def measure(folder: Path, state: Path, name: str) -> dict[str, str]:
    """Run one row, print it; returns the digest of the labels by result."""
    cluster = Cluster(
        folder / "cluster", default_path(), Authority.make(folder / "authority"), 10.0
    )
    workers: list[servers.Running] = []
    extra = f"{PLAIN}[work]\nprocesses = {PROCESSES[name]}\n"
    if name != "local":
        cluster.start_scheduler()
        workers = [cluster.start_worker(f"w{n}") for n in range(1, 2 if name == "1" else 3)]
        extra = f'{PLAIN}{cluster.section("node")}[work]\nengine = "dask"\nprocesses = {PROCESSES[name]}\n'
    here = _site(folder / "site", extra, state)
    try:
        if name == "lost":
            _disturb(workers, cluster)
        rows = here.wait(STUDIES, 900.0)
    finally:
        here.stop()
        cluster.stop()
    journal = here.journal
    events = [e for row in rows for e in journal.series.events(row.key)]
    ends = [e.at for e in events if e.event == SeriesEvent.RESULTS_PUBLISHED]
    lost = sum(e.event == SeriesEvent.CLAIM_LOST for e in events)
    took = max(ends) - min(e.at for e in events if e.event == SeriesEvent.CLAIMED)
    labels = {}
    for row in rows:
        (result,) = journal.results.of_series(row.key)
        pixels = pydicom.dcmread(result.folder / "seg.dcm").PixelData
        labels[result.result_id] = hashlib.sha256(pixels).hexdigest()
    states = sorted({str(row.state) for row in rows})
    _line(
        f"{name}: {took:.1f} s, {60 * len(ends) / took:.1f} a minute, {len(ends)} results, {lost} lost, {states}, load {os.getloadavg()[0]:.1f}",
    )
    return labels


def main() -> None:
    folder, names = Path(sys.argv[1]), sys.argv[2:] or list(PROCESSES)
    begin = time.monotonic()
    receiving = Cluster(folder / "nowhere", default_path(), Authority.make(folder / "authority"))
    state = _received(folder, receiving)
    _line(f"received after {time.monotonic() - begin:.0f} s")
    found = {name: measure(folder / name, state, name) for name in names}
    kinds = {tuple(sorted(labels.items())) for labels in found.values()}
    _line(f"same UIDs and labels in every run: {len(kinds) == 1}")


if __name__ == "__main__":
    main()
