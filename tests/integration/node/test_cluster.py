"""A real scheduler and real workers over TLS, seen through the port: what is lost, refused, away, not used.

One scheduler and its workers serve all tests: each takes a worker that runs, or starts one, and sets how long
a segmentation takes.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import httpx
import pytest

pytest.importorskip("distributed")

from cluster import calls
from dicomseg.errors import LumbarError
from dicomseg.read.pixels import read_source
from dicomseg.segmentation import Segmentation
from dicomseg.volume import Volume
from model.bundle.card import CARD, read_card, seal
from model.bundle.load import load_bundle
from model.bundle.write import write_coded_bundle
from model.segment import segment
from node.cluster import client as client_module
from node.cluster import dispatch
from node.cluster.client import DaskEngine
from node.cluster.dispatch import Deadlines, Dispatcher
from node.cluster.local import LocalEngine
from node.cluster.remote import OVERDUE
from node.config.file import read_config
from node.errors import AttemptLost, ClusterAway
from node.program import program_version
from node.work.trial import write_trial
from tests.support.certificates import Authority, Pair, needs_openssl
from tests.support.clusters import Cluster, begun, cluster, until
from tests.support.machines import assert_same

pytestmark = [pytest.mark.slow, needs_openssl, pytest.mark.timeout(300)]

Engine = Callable[..., DaskEngine]


@pytest.fixture(scope="module")
def volume(tmp_path_factory: pytest.TempPathFactory) -> Volume:
    return read_source(write_trial(tmp_path_factory.mktemp("trial"))).volume


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, oracle_bundle: Path) -> Iterator[Cluster]:
    with cluster(tmp_path_factory.mktemp("cluster") / "cluster", oracle_bundle) as here:
        here.start_scheduler()
        yield here


@pytest.fixture
def made(shared: Cluster) -> Cluster:
    shared.slow(0.0)
    return shared


@pytest.fixture
def engine(made: Cluster) -> Iterator[Engine]:
    """Make the engine of a node with a certificate of its own; it is closed at the end."""
    engines: list[DaskEngine] = []

    def new(name: str = "node", **keys: object) -> DaskEngine:
        config = read_config(made.config(name, **keys)).cluster
        engines.append(DaskEngine(config, read_card(made.bundle)))
        return engines[-1]

    yield new
    for one in engines:
        one.close()


def _user(
    engine: DaskEngine, limit_s: float = 20.0, local: LocalEngine | None = None
) -> Dispatcher:
    """A dispatcher that has a machine, with a deadline of so many seconds."""
    deadlines = Deadlines(limit_s)
    deadlines.add(0.0)
    user = Dispatcher(engine, f"w1.{time.monotonic_ns()}", 1, deadlines, {}, local)
    until(user.may_claim, 20.0)
    return user


class Side(threading.Thread):
    """Something beside the test; what it raised is raised at the end."""

    def __init__(self, does: Callable[[], object]) -> None:
        super().__init__()
        self._does = does
        self.error: Exception | None = None
        self.start()

    def run(self) -> None:
        try:
            self._does()
        except Exception as error:  # noqa: BLE001 - compared by the test
            self.error = error


def test_segmentation_of_a_worker_is_that_of_this_machine_and_its_death_is_named(
    made: Cluster, engine: Engine, volume: Volume
) -> None:
    worker = made.worker()
    user = _user(engine())
    found = user.segment(volume)
    here = segment(volume, load_bundle(made.bundle))
    assert isinstance(found, Segmentation)
    assert isinstance(here, Segmentation)
    assert_same(replace(found, timings_s={}), replace(here, timings_s={}))
    assert set(found.timings_s) == set(here.timings_s)

    empty = Volume(volume.array.astype("float32") * float("nan"), volume.affine)
    with pytest.raises(LumbarError, match="are not finite numbers"):
        user.segment(empty)

    made.slow(60.0)
    pid, seen = worker.process.pid, begun(worker)
    killer = Side(lambda: (until(lambda: begun(worker) > seen), os.kill(pid, signal.SIGKILL)))
    with pytest.raises(AttemptLost, match=f"worker .*/cpu/{pid} ended$"):
        user.segment(volume)
    killer.join()
    until(lambda: not user.may_claim(), 10.0)


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP])
def test_a_series_that_waits_on_a_worker_that_ends_was_no_attempt(
    made: Cluster, engine: Engine, volume: Volume, end: signal.Signals
) -> None:
    worker = made.worker()
    first, second = _user(engine("node1")), _user(engine("node2"))
    made.slow(60.0)
    seen = begun(worker)
    computed = Side(lambda: first.segment(volume))
    until(lambda: begun(worker) > seen)
    queued = Side(lambda: second.segment(volume))
    time.sleep(1.0)  # it lies on the worker by now, where nothing shows it
    os.kill(worker.process.pid, end)
    for user in (computed, queued):
        user.join(60.0)
    assert isinstance(computed.error, AttemptLost)
    assert isinstance(queued.error, ClusterAway)
    assert f"/cpu/{worker.process.pid} ended before it began this series" in str(queued.error)
    worker.process.kill()
    worker.process.wait(10)


def test_strangers_reach_neither_scheduler_nor_worker(
    made: Cluster, engine: Engine, tmp_path: Path
) -> None:
    worker = made.worker()
    port = int(worker.log.read_text().split("\nworker at tls://127.0.0.1:")[-1].split(":")[0])
    stranger = Authority.make(tmp_path / "stranger").issue("stranger")
    for target in (made.port, port):
        for pair in (None, stranger):
            assert not _is_let_in(target, pair)
        assert _is_let_in(target, made.authority.issue("member"))
    other = Cluster(tmp_path / "other", made.bundle, Authority.make(tmp_path / "others"))
    other.port = made.port
    outside = DaskEngine(read_config(other.config("node")).cluster, read_card(made.bundle))
    began = time.monotonic()
    assert outside.capacity().slots == 0
    assert time.monotonic() - began < 10.0
    assert outside.capacity().unused == (
        f"the cluster's scheduler {made.address} does not answer, or refuses the certificate",
    )
    outside.close()


def _is_let_in(port: int, pair: Pair | None) -> bool:
    """Whether a connection with this certificate, or none, is kept after the handshake."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    if pair is not None:
        context.load_cert_chain(pair.certificate, pair.key)
    with socket.create_connection(("127.0.0.1", port), 5.0) as plain:
        try:
            with context.wrap_socket(plain) as link:
                link.settimeout(2.0)
                return bool(link.recv(1))  # Dask speaks first
        except OSError:
            return False


def test_no_page_is_served(made: Cluster) -> None:
    log = (made.folder / "scheduler.log").read_text()
    port = int(log.split("dashboard at:")[-1].split("http://127.0.0.1:")[1].split("/")[0])
    for path in ("", "info/main/workers.html", "json/identity.json", "metrics", "health"):
        answer = httpx.get(f"http://127.0.0.1:{port}/{path}", timeout=5.0)
        assert answer.status_code == 404, path


STAND_INS = {
    "version": (
        "lumbar_node-9.9.9.dist-info/METADATA",
        "Metadata-Version: 2.1\nName: lumbar-node\nVersion: 9.9.9\n",
        f"version 9.9.9, the node has {program_version()}; install the same wheel",
    ),
    "python": (
        "sitecustomize.py",
        "import platform\nplatform.python_version_tuple = lambda: ('3', '99', '0')\n",
        "Python 3.99, the node has 3.11; install the same",
    ),
}
"""Files before the installed ones on a worker's path that make it another machine, and what is said of it."""


def _older_bundle(folder: Path) -> Path:
    write_coded_bundle(folder)
    text = (folder / CARD).read_text().replace('"version": "1"', '"version": "0"')
    (folder / CARD).write_text(json.dumps(seal(json.loads(text), folder)))
    return folder


def test_a_worker_of_another_version_python_or_bundle_is_named_and_gets_no_series(
    made: Cluster, engine: Engine, volume: Volume, tmp_path: Path
) -> None:
    made.workers()
    older = _older_bundle(tmp_path / "older")
    digests = [read_card(folder)["digest"][:12] for folder in (older, made.bundle)]
    whys = {"bundle": "bundle {}, in service is {}; copy that bundle and restart the worker".format(*digests)}  # fmt: skip
    for name, (file, text, why) in STAND_INS.items():
        whys[name] = why
        (tmp_path / name / file).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name / file).write_text(text)
    for name in whys:
        made.config(name)  # one after the other: each takes a number of the authority's
    with ThreadPoolExecutor() as beside:
        starts = {
            name: beside.submit(made.start_worker, name, *arguments, path=tmp_path / name)
            for name, arguments in (
                ("bundle", ("--bundle", str(older))),
                ("version", ()),
                ("python", ()),
            )
        }
    said = {start.result(): whys[name] for name, start in starts.items()}
    node = engine()
    until(lambda: len(node.capacity().unused) == len(said), 20.0)
    assert node.capacity().slots == 0
    for worker, why in said.items():
        lines = [x for x in node.capacity().unused if f"/cpu/{worker.process.pid}: " in x]
        assert [line.split(": ", 1)[1] for line in lines] == [why]

    waiting = Dispatcher(node, "waits", 1, Deadlines(20.0), {})
    assert not waiting.may_claim()
    alone = _user(engine("alone"), local=LocalEngine(lambda: load_bundle(made.bundle)))
    assert isinstance(alone.segment(volume), Segmentation)
    assert [begun(worker) for worker in said] == [0] * len(said)

    made.start_worker("one")
    until(waiting.may_claim, 20.0)
    assert isinstance(waiting.segment(volume), Segmentation)
    assert [begun(worker) for worker in said] == [0] * len(said)


def test_each_of_two_nodes_keeps_to_its_slots(
    made: Cluster, engine: Engine, volume: Volume
) -> None:
    made.workers("one", "two")
    whole, part = engine("whole"), engine("part", slots=1)
    until(lambda: whole.capacity().slots == 2, 20.0)
    until(lambda: part.capacity().slots == 1, 20.0)
    claiming = {}
    for name, node in (("whole", whole), ("part", part)):
        users = [Dispatcher(node, f"{name}{n}", n, Deadlines(20.0), {}) for n in range(1, 5)]
        claiming[name] = sum(user.may_claim() for user in users)
    assert claiming == {"whole": 3, "part": 2}
    assert isinstance(_user(part).segment(volume), Segmentation)


def test_a_segmentation_that_never_returns_is_given_up_and_its_worker_ends(
    made: Cluster, engine: Engine, volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    hung = made.worker()
    made.slow(300.0)
    node = engine()
    user = _user(node, 3.0)
    monkeypatch.setattr(dispatch, "GRACE_S", 1.0)
    with pytest.raises(AttemptLost, match=f"worker .*/cpu/{hung.process.pid} ended$"):
        user.segment(volume)
    assert hung.process.wait(20) == OVERDUE
    assert node.capacity().slots == 0


def test_a_series_that_waits_behind_another_costs_no_attempt_and_casts_no_doubt(
    made: Cluster, engine: Engine, volume: Volume
) -> None:
    made.worker()
    made.slow(3.0)
    engines = [engine(f"node{n}") for n in range(2)]
    users = [_user(one, 4.0) for one in engines]  # each takes less, both together more
    for one in engines:
        assert one.capacity().slots == 1
    found: list[object] = []
    for side in [Side(lambda u=u: found.append(u.segment(volume))) for u in users]:  # type: ignore[misc]
        side.join()
        assert side.error is None
    assert [type(f) for f in found] == [Segmentation, Segmentation]
    for one in engines:
        assert one.capacity().unused == ()


def test_a_stopped_worker_does_not_wait_for_its_segmentation(
    made: Cluster, engine: Engine, volume: Volume
) -> None:
    worker = made.worker()
    made.slow(300.0)
    user, seen = _user(engine(), 60.0), begun(worker)
    stopper = Side(lambda: (until(lambda: begun(worker) > seen), worker.process.terminate()))
    with pytest.raises((AttemptLost, ClusterAway)):
        user.segment(volume)
    stopper.join()
    assert worker.process.wait(20) == 0


def test_a_scheduler_that_freezes_and_one_that_ends_are_away_and_come_back(
    made: Cluster, engine: Engine, volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client_module, "PROBE_S", 1.0)
    monkeypatch.setattr(calls, "ANSWER_S", 1.5)
    monkeypatch.setattr(client_module, "AGAIN_S", 1.0)
    worker = made.worker()
    made.slow(6.0)  # a worker that ends waits for it
    (scheduler,) = [r.process for r in made.running if r.name == "scheduler" and r.alive]
    user = _user(engine(), 60.0)

    def after_begin(number: int) -> Callable[[], object]:
        seen = begun(worker)
        return lambda: (until(lambda: begun(worker) > seen), os.kill(scheduler.pid, number))

    side = Side(after_begin(signal.SIGSTOP))
    began = time.monotonic()
    with pytest.raises(ClusterAway, match=f"scheduler {made.address} does not answer"):
        user.segment(volume)
    assert time.monotonic() - began < 30.0
    side.join()
    began = time.monotonic()
    assert not user.may_claim()
    assert time.monotonic() - began < 10.0
    os.kill(scheduler.pid, signal.SIGCONT)
    # It was silent for the scheduler, too; its unit starts it again.
    assert worker.process.wait(40) == 5
    worker = made.worker()
    until(user.may_claim, 30.0)

    side = Side(after_begin(signal.SIGKILL))
    with pytest.raises(ClusterAway):
        user.segment(volume)
    side.join()
    assert not user.may_claim()
    assert worker.process.wait(40) == 5
    made.start_scheduler()
    made.slow(0.0)
    made.worker()
    until(user.may_claim, 30.0)
    assert isinstance(user.segment(volume), Segmentation)
