"""Installed bundles, promotion and the way back, with oracle bundles of two versions."""

from __future__ import annotations

import errno
import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dicomseg.read import header as headers
from model.bundle.card import CARD, ROOTS_WEIGHTS, default_path, read_card, seal
from model.bundle.write import write_coded_bundle
from model.errors import BundleError
from node.cli.app import run
from node.clock import Clock
from node.config.file import read_config
from node.errors import DiskFull, IllegalTransition, PromotionRefused
from node.event_log import EventLog
from node.journal.job_rows import JobPlan, JobRow
from node.journal.journal import Journal
from node.journal.rows import NewInstance, SeriesKey
from node.journal.states import JobEvent, JobState, SeriesEvent
from node.models import registry as models
from node.models.registry import ModelRegistry, Request, folder_name, install, promote, rollback
from node.models.retraining import JobDirectory
from node.work import machines, results, worker
from node.work.step import WorkStep
from node.work.worker_process import WorkerProcess

WHY = Request("E. Miller", "because")


def make(folder: Path, version: str, name: str = "oracle") -> Path:
    """Write an oracle bundle of a version."""
    write_coded_bundle(folder)
    card = {"schema": 1, "name": name, "version": version, "architecture": {"name": "oracle"}}
    (folder / CARD).write_text(json.dumps(seal(card, folder)))
    return folder


def digest(folder: Path) -> str:
    return str(read_card(folder)["digest"])


@dataclass
class Bench:
    registry: ModelRegistry
    first: Path
    second: Path
    third: Path

    @property
    def journal(self) -> Journal:
        return self.registry.journal

    def serving(self) -> str:
        return str(read_card(self.registry.in_service)["version"])


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    state = tmp_path / "state"
    journal = Journal.open(state / "journal.sqlite", time.time)
    first, second, third = (make(tmp_path / f"v{n}", str(n)) for n in (1, 2, 3))
    yield Bench(ModelRegistry(state, journal, first), first, second, third)
    journal.close()


# ---- install -------------------------------------------------------------------------------------


def test_installed_bundle_brings_its_roots_network(bench: Bench) -> None:
    (bench.second / ROOTS_WEIGHTS).write_bytes(b"roots")
    card = json.loads((bench.second / CARD).read_text())
    body = {k: v for k, v in card.items() if k not in {"digest", "files"}}
    (bench.second / CARD).write_text(json.dumps(seal(body, bench.second)))
    place, _ = install(bench.second, bench.registry.models)
    assert (place / ROOTS_WEIGHTS).read_bytes() == b"roots"


def test_installed_bundle_is_a_verified_copy_named_by_its_card(bench: Bench) -> None:
    place, card = install(bench.second, bench.registry.models)
    assert place.name == f"oracle-2-{card['digest'][:12]}"
    assert digest(place) == digest(bench.second)
    assert bench.registry.installed() == [place]
    shutil.rmtree(bench.second)  # the copy is independent
    assert install(place, bench.registry.models)[0] == place


def test_damaged_source_is_refused_and_nothing_is_left(bench: Bench) -> None:
    card = json.loads((bench.second / "card.json").read_text())
    (bench.second / "card.json").write_text(json.dumps({**card, "version": "9"}))
    with pytest.raises(BundleError, match="the digest does not match"):
        install(bench.second, bench.registry.models)
    assert bench.registry.installed() == []


def test_damaged_copy_is_replaced(bench: Bench) -> None:
    place, _ = install(bench.second, bench.registry.models)
    (place / "card.json").write_text("{}")
    assert install(bench.second, bench.registry.models)[0] == place
    assert digest(place) == digest(bench.second)


def test_full_disk_changes_nothing(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    promote(bench.registry, bench.second, WHY)

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(models.shutil, "copyfileobj", full)
    with pytest.raises(DiskFull, match="nothing was changed"):
        promote(bench.registry, bench.third, WHY)
    assert bench.serving() == "2"
    assert sorted(p.name[:8] for p in bench.registry.models.iterdir()) == ["oracle-2"]


@pytest.mark.parametrize("word", ["../x", "a/b", "", ".hidden", "a" * 65, "ä"])
def test_card_cannot_name_a_folder_elsewhere(word: str, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="cannot name a folder"):
        folder_name({"name": "x", "version": word, "digest": "d" * 64})
    with pytest.raises(BundleError, match="cannot name a folder"):
        install(make(tmp_path / "b", "1", name=word), tmp_path / "models")
    assert not (tmp_path / "models").exists()


# ---- promote and rollback ------------------------------------------------------------------------


def test_configured_then_shipped_serves_without_a_promotion(bench: Bench) -> None:
    assert bench.registry.in_service == bench.first
    assert ModelRegistry(bench.registry.state, bench.journal, None).in_service == default_path()


def test_promotions_and_rollbacks_are_a_stack_and_all_stay_in_the_journal(bench: Bench) -> None:
    registry, seen = bench.registry, []
    promote(registry, bench.second, WHY)
    promote(registry, bench.third, WHY)
    seen.append(bench.serving())
    for _ in range(2):
        rollback(registry, WHY)
        seen.append(bench.serving())
    assert seen == ["3", "2", "1"]
    with pytest.raises(PromotionRefused, match="no earlier bundle to roll back to"):
        rollback(registry, WHY)
    promote(registry, bench.third, WHY)
    rollback(registry, WHY)
    assert bench.serving() == "1"
    changes = [(p.event, p.version) for p in bench.journal.promotions.all()]
    assert changes == [
        ("promoted", "2"), ("promoted", "3"), ("rolled_back", "2"), ("rolled_back", "1"),
        ("promoted", "3"), ("rolled_back", "1"),
    ]  # fmt: skip
    row = bench.journal.promotions.all()[1]
    assert (row.asked_by, row.reason, row.replaced) == (*vars_of(WHY), digest(bench.second))


def vars_of(request: Request) -> tuple[str, str]:
    return request.by, request.reason


def test_state_folder_may_be_moved(bench: Bench, tmp_path: Path) -> None:
    promote(bench.registry, bench.second, WHY)
    bench.journal.close()
    moved = bench.registry.state.rename(tmp_path / "moved")
    journal = Journal.open(moved / "journal.sqlite", time.time)
    folder = journal.promotions.folder_in_service(None)
    journal.close()
    assert folder is not None
    assert folder.is_relative_to(moved)
    assert digest(folder) == digest(bench.second)


def test_bundle_in_service_is_not_promoted_again_but_repaired(bench: Bench) -> None:
    with pytest.raises(PromotionRefused, match="oracle 1 is already in service"):
        promote(bench.registry, bench.first, WHY)
    promote(bench.registry, bench.second, WHY)
    (bench.registry.in_service / "card.json").unlink()
    promote(bench.registry, bench.second, WHY)
    assert bench.serving() == "2"


def test_bundle_that_does_not_load_is_never_put_into_service(bench: Bench, tmp_path: Path) -> None:
    card = {"schema": 1, "name": "x", "version": "1", "architecture": {"name": "deeplabv3plus3d"}}
    bad = tmp_path / "bad"
    bad.mkdir()
    (bad / "card.json").write_text(json.dumps(seal(card, bad)))
    with pytest.raises(BundleError, match="do not fit"):
        promote(bench.registry, bad, WHY)
    assert bench.journal.promotions.newest() is None


def test_rollback_to_a_damaged_bundle_is_refused(bench: Bench) -> None:
    promote(bench.registry, bench.second, WHY)
    second = bench.registry.in_service
    promote(bench.registry, bench.third, WHY)
    make(second, "2", name="another")  # intact, and not what was promoted
    with pytest.raises(BundleError, match="another bundle than was promoted"):
        rollback(bench.registry, WHY)
    shutil.rmtree(second)
    with pytest.raises(BundleError, match=r"card\.json"):
        rollback(bench.registry, WHY)
    assert bench.serving() == "3"


def test_two_people_at_once_one_is_told(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    tried = models._test_load

    def meanwhile(folder: Path) -> None:
        monkeypatch.setattr(models, "_test_load", tried)
        promote(bench.registry, bench.second, WHY)

    monkeypatch.setattr(models, "_test_load", meanwhile)
    with pytest.raises(PromotionRefused, match="in the meantime"):
        promote(bench.registry, bench.third, WHY)
    assert bench.serving() == "2"


# ---- candidates of jobs --------------------------------------------------------------------------


def _proposed(bench: Bench, candidate: Path) -> JobRow:
    job = bench.journal.jobs.enqueue(JobPlan("c", "h"), "test")
    place = JobDirectory.of(bench.registry.state, job.id)
    shutil.copytree(candidate, place.candidate)
    outcome = {
        "in_service": {"digest": digest(bench.registry.in_service)},
        "candidate": {"digest": digest(candidate)},
    }
    bench.journal.jobs.start(job.id, 1, "", job.plan)
    bench.journal.jobs.advance(job.id, JobEvent.COMPARISON_PASSED, outcome=outcome)
    return bench.journal.jobs.get(job.id)


def _promote_job(bench: Bench, job_id: int) -> None:
    job = bench.journal.jobs.get(job_id)
    promote(bench.registry, models.find_candidate(bench.registry.state, job), WHY, job)


def test_proposed_candidate_is_promoted_once_and_its_job_says_so(bench: Bench) -> None:
    job = _proposed(bench, bench.second)
    _promote_job(bench, job.id)
    assert bench.journal.jobs.get(job.id).state is JobState.PROMOTED
    assert bench.journal.jobs.events(job.id)[-1].detail == {"by": "E. Miller", "reason": "because"}
    newest = bench.journal.promotions.newest()
    assert newest is not None
    assert newest.job_id == job.id
    rollback(bench.registry, WHY)
    with pytest.raises(PromotionRefused, match="job 1 is promoted; only a proposed"):
        _promote_job(bench, job.id)


def test_candidate_compared_with_another_model_is_refused(bench: Bench) -> None:
    job = _proposed(bench, bench.second)
    promote(bench.registry, bench.third, WHY)
    with pytest.raises(PromotionRefused, match="compared with another model than the one in"):
        _promote_job(bench, job.id)
    assert bench.journal.jobs.get(job.id).state is JobState.PROPOSED
    assert bench.serving() == "3"


def test_candidate_that_was_exchanged_is_refused(bench: Bench) -> None:
    job = _proposed(bench, bench.second)
    make(JobDirectory.of(bench.registry.state, job.id).candidate, "9")
    with pytest.raises(PromotionRefused, match="is not the bundle that was compared"):
        _promote_job(bench, job.id)


def test_rejected_job_puts_nothing_into_service_even_past_the_first_check(bench: Bench) -> None:
    job = _proposed(bench, bench.second)
    bench.journal.database.connection.execute("UPDATE job SET state = 'rejected'")
    with pytest.raises(IllegalTransition):
        promote(bench.registry, bench.second, WHY, job)  # a stale row of a proposed job
    assert bench.journal.promotions.newest() is None


# ---- the running service -------------------------------------------------------------------------

CONFIG = '[node]\nae_title = "NODE"\nstate = "state"\n[model]\nbundle = "v1"\n[results]\npictures = false\n'
"""Without pictures no process is started that draws them."""


@pytest.fixture
def config(bench: Bench, tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(CONFIG)
    return path


def _select(journal: Journal, paths: list[Path]) -> SeriesKey:
    for path in paths:
        one = headers.read_instance(path)
        journal.instances.add(
            NewInstance(
                one.sop_instance_uid, one.sop_class_uid, one.study_uid, one.series_uid, one.digest,
                one.transfer_syntax_uid, path, 1,
            )
        )  # fmt: skip
    key = SeriesKey(one.study_uid, one.series_uid)
    journal.series.advance(key, SeriesEvent.GEOMETRY_COMPLETE)
    journal.series.advance(key, SeriesEvent.RULES_ACCEPT)
    return key


def test_each_series_is_of_one_model_and_the_next_one_of_the_new(
    bench: Bench, config: Path, tmp_path: Path, write_series: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    journal = bench.journal
    keys = [
        _select(journal, write_series(tmp_path / s, series=s)) for s in ("1.3.1", "1.3.2", "1.3.3")
    ]
    changes = iter(
        [lambda: promote(bench.registry, bench.second, WHY), lambda: rollback(bench.registry, WHY)]
    )
    used: list[str] = []

    def process_series(grid: Any, model: Any, *_: Any) -> Any:
        used.append(model.info.version)
        next(changes, stopping.set)()  # in the middle of a series
        return SimpleNamespace(files={"result.json": b"{}"}, fault=None)

    monkeypatch.setattr(results, "process_series", process_series)
    monkeypatch.setattr(machines, "warm_networks", lambda *_: None)
    monkeypatch.setattr(worker, "try_out", lambda *_: None)
    stopping, starts = threading.Event(), 0
    while not stopping.is_set():
        starts += 1
        made = worker.prepared(read_config(config), f"w{starts}")
        made.run(stopping)
        made.journal.close()
    assert used == ["1", "2", "1"]
    assert starts == 3
    found = [journal.results.of_series(key)[0].model_digest for key in keys]
    assert found == [digest(bench.first), digest(bench.second), digest(bench.first)]
    assert len({journal.results.of_series(key)[0].result_id for key in keys}) == 3


@pytest.mark.slow
def test_idle_worker_of_the_service_changes_its_model_without_being_told(
    bench: Bench, config: Path
) -> None:
    found = read_config(config)
    log = EventLog("test", StringIO())
    process = WorkerProcess(config, "w1", log)
    workers = WorkStep((process,), found.work, bench.journal, Clock(), log.event)

    def until(true: Callable[[], bool]) -> None:
        limit = time.monotonic() + 60
        while not true():
            workers.run_once()
            assert time.monotonic() < limit
            time.sleep(0.02)

    until(lambda: process.ready)
    promote(bench.registry, bench.second, WHY)
    until(lambda: process.starts == 2 and process.ready)
    workers.stop(20.0)
    assert process.poll() == 0


def test_promoted_bundle_that_is_gone_stops_the_worker_and_no_other_steps_in(
    bench: Bench, config: Path
) -> None:
    promote(bench.registry, bench.second, WHY)
    shutil.rmtree(bench.registry.in_service)
    with pytest.raises(BundleError, match=r"oracle-2-.*card\.json"):
        worker.prepared(read_config(config), "w1")


# ---- commands ------------------------------------------------------------------------------------


@pytest.fixture
def said(config: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> Callable[..., Any]:
    monkeypatch.chdir(config.parent)

    def call(*arguments: str) -> tuple[int, str, str]:
        code = run(["models", *arguments])
        out, err = capsys.readouterr()
        return code, out, err

    return call


BY = ("--by", "E. Miller", "--reason", "better")


def test_commands_promote_list_show_verify_and_roll_back(bench: Bench, said: Any) -> None:
    second = digest(bench.second)[:12]
    assert said("promote", "v2", *BY) == (0, f"in service: oracle 2 {second} (promoted)\n", "")
    assert "version: 2" in said("show")[1]
    listing = json.loads(said("list", "--json")[1])
    assert [(b["kind"], b["version"], b["in_service"]) for b in listing["bundles"]] == [
        ("configured", "1", False),
        ("installed", "2", True),
    ]
    assert listing["changes"][0]["by"] == "E. Miller"
    assert "promoted: oracle 2, by E. Miller: better" in said("list")[1]
    assert said("verify")[:2] == (0, f"oracle 2 {second}: ok (digest verified)\n")
    code, out, _ = said("rollback", *BY, "--json")
    assert (code, json.loads(out)["version"]) == (0, "1")
    name = f"oracle-2-{second}"
    assert said("promote", name, *BY)[0] == 0  # an installed one, by its name
    (bench.registry.models / name / "card.json").write_text("{}")
    code, _, err = said("verify", name)
    assert (code, err.count("\n")) == (6, 1)
    assert said("rollback", *BY)[0] == 0


def test_job_is_promoted_by_its_number(bench: Bench, said: Any) -> None:
    job = _proposed(bench, bench.second)
    assert said("promote", str(job.id), *BY)[0] == 0
    assert said("promote", str(job.id), *BY)[0] == 6
    assert said("promote", "77", *BY)[0] == 3


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (("promote", "v2", "--by", "x"), 2, "missing option '--reason'"),
        (("rollback", "--reason", "x"), 2, "missing option '--by'"),
        (("promote", "v2", "--by", " ", "--reason", "x"), 2, "--by must not be empty"),
        (("promote", "nowhere", *BY), 6, "nowhere/card.json"),
        (("rollback", *BY), 6, "no earlier bundle to roll back to"),
        (("show", "nowhere"), 6, "nowhere/card.json"),
    ],
)
def test_wrong_asks_are_one_line_and_change_nothing(
    bench: Bench, said: Any, words: tuple[str, ...], code: int, message: str
) -> None:
    found = said(*words)
    assert found[0] == code, found
    assert message in found[2]
    assert found[2].count("\n") == 1
    assert bench.journal.promotions.newest() is None


def test_looking_makes_no_journal(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(["models", "list"]) == run(["models", "show"]) == run(["models", "verify"]) == 0
    assert "shipped" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []
