"""Training in Chromium: a real retraining of tiny networks watched live, a proposal promoted by keyboard, and taken back."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch

from model.bundle.write import write_bundle
from model.networks.deeplab import Architecture, DeepLabV3Plus3D
from model.networks.level_unet import LevelArchitecture, LevelNet
from node.console.users import Role, User, Users, hash_password
from node.journal.job_rows import JobPlan
from node.models.retraining import JobDirectory
from tests.support import console_walk
from tests.support.console_walk import PASSWORD, SIZES, add_users, check_page, opened, web_section
from tests.support.sites import Site
from tests.support.threaded_node import until
from tests.support.trainings import (
    coded_bundle,
    compared,
    comparison,
    proposed_job,
    side,
    write_folds,
    write_run,
)
from training.data import held_out

pytestmark = [pytest.mark.browser, pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(900)]

ARCHITECTURE = Architecture(width=4, decoder=2, dilations=(1,))
RECIPE = """
crops = [[8, 16, 16]]
narrow = [8, 16, 8]
accumulate = 1
steps = 60
warm_up = 5
norm_steps = 0
[architecture]
width = 4
decoder = 2
dilations = [1]
"""
WAIT_MS = 300_000
"""For a training of some seconds, on a machine that does other things."""


@dataclass
class Shown(console_walk.Shown):
    """A console with a job that trains and two that propose; promoted: the one that a test promotes. runs: [training] runs."""

    trained: int
    proposed: int
    promoted: int
    runs: Path


@pytest.fixture(scope="module")
def shown(
    module_site: Callable[..., Site],
    oracle_bundle: Path,
    tiny_cases: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Shown:
    if shutil.which("storescu") is None:
        pytest.skip("needs DCMTK (apt install dcmtk)")
    folder = tmp_path_factory.mktemp("training")
    write_folds(folder / "runs" / "crossval")
    write_run(folder / "runs" / "first")
    port, web = web_section()
    extra = f'{web}[training]\nruns = "{folder / "runs"}"\n'
    site = module_site(bundle=oracle_bundle, with_pacs=False, extra=extra)
    add_users(site)
    Users(site.folder / "state" / "users.json").put(
        User("boris", Role.OPERATOR, hash_password(PASSWORD))
    )
    site.stop()  # a node that runs would take the jobs below for its own
    proposed, promoted = (_proposal(site, oracle_bundle) for _ in range(2))
    site.start()
    trained = site.journal.jobs.enqueue(_plan(folder, tiny_cases), "E. Miller").id
    found = Shown(site, port, trained, proposed, promoted, folder / "runs")
    until(found.answers)
    return found


def _plan(folder: Path, cases: Path) -> JobPlan:
    """A retraining of networks that learn nothing in seconds."""
    torch.manual_seed(3)
    level = LevelArchitecture(width=4)
    card = {
        "name": "tiny",
        "version": "0.3.0",
        "architecture": ARCHITECTURE.to_dict(),
        "level_architecture": level.to_dict(),
    }
    write_bundle(folder / "serving", card, DeepLabV3Plus3D(ARCHITECTURE), LevelNet(level))
    held_out.write_held_out(folder / "held.json", cases, ["phantom-000001", "spider-001"])
    (folder / "recipe.toml").write_text(RECIPE)
    return JobPlan(str(cases), str(folder / "held.json"), str(folder / "recipe.toml"), str(folder / "serving"))  # fmt: skip


def _proposal(site: Site, serving: Path) -> int:
    """A job that proposes a bundle, with values of known disagreement."""
    new = coded_bundle(site.folder / "new", "2")
    names = [f"phantom-{n:06d}" for n in range(8)]

    def scores(shift: float) -> list[dict[str, Any]]:
        sizes = {"OC": 12.0, "DAA": 15.0, "DIVC": 21.0, "PI": 2.5}
        return [
            compared(name, 0.6 + 0.04 * n, {k: (v + 0.3 * n + shift * (n % 3 - 1), v + 0.3 * n) for k, v in sizes.items()})
            for n, name in enumerate(names)
        ]  # fmt: skip

    content = comparison(side(serving, scores(0.8)), side(new, scores(0.4)))
    state = site.folder / "state"
    job = proposed_job(site.journal, state, content)
    new.rename(JobDirectory.of(state, job).candidate)
    return job


@pytest.fixture
def visit(shown: Shown, chromium: Any) -> Callable[..., Any]:
    """Open a page as a user."""
    return partial(opened, shown, chromium)


def test_a_training_is_watched_without_a_reload(shown: Shown, visit: Any) -> None:
    expect = pytest.importorskip("playwright.sync_api").expect
    with visit("physician") as seen:
        seen.page.goto(f"{shown.url}/training/jobs/{shown.trained}")
        seen.page.evaluate("window.sameDocument = true")
        # The finder in service finds no level, which a retraining says before its first step.
        expect(seen.page.locator(".lead")).to_contain_text("failed", timeout=WAIT_MS)
        assert seen.page.evaluate("window.sameDocument")
        assert "step 0 of 60" in seen.page.inner_text(".lead")
        assert "evaluated phantom-000001" in seen.page.inner_text(".log")
        why = "the level finder finds the level in none of 2 held-out cases"
        assert why in seen.page.inner_text("main")
        assert seen.said == []
    assert shown.site.journal.jobs.get(shown.trained).reason.startswith(
        f"nothing was trained: {why}"
    )


def test_a_curve_grows_without_a_reload(shown: Shown, visit: Any) -> None:
    expect = pytest.importorskip("playwright.sync_api").expect
    curve = shown.runs / "first" / "curve.jsonl"
    with visit("physician") as seen:
        seen.page.goto(f"{shown.url}/training/runs/first")
        seen.page.evaluate("window.sameDocument = true")
        dice = seen.page.locator("svg.curve").last
        expect(dice).to_have_attribute("aria-label", re.compile("at step 400"))
        line = {
            "step": 420,
            "loss": 0.1,
            "seconds": 200.0,
            "validation_loss": 0.1,
            "dice": {"l4": 0.97},
        }
        with curve.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
        expect(dice).to_have_attribute("aria-label", re.compile("at step 420"), timeout=30_000)
        assert seen.page.evaluate("window.sameDocument")
        assert seen.said == []


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("path", ["/training", "/training/jobs/{trained}", "/training/jobs/{trained}/proposal", "/training/jobs/{proposed}/proposal", "/training/jobs/{proposed}/promote", "/training/runs/crossval", "/training/runs/first"])  # fmt: skip
def test_no_page_has_a_fault_of_accessibility(
    shown: Shown, visit: Any, path: str, size: str
) -> None:
    with visit("operator", size) as seen:
        seen.page.goto(shown.url + path.format(trained=shown.trained, proposed=shown.proposed))
        check_page(seen, re.sub(r"[/{}]+", "-", path), size)


def test_a_candidate_is_promoted_by_keyboard_the_second_person_is_told_and_it_is_taken_back(
    shown: Shown, visit: Any
) -> None:
    path = f"{shown.url}/training/jobs/{shown.promoted}"
    with visit("operator") as anna, visit("boris") as boris:
        for one in (anna, boris):
            one.page.goto(f"{path}/proposal")
            one.page.locator("#promote").focus()
            one.page.keyboard.press("Enter")
            one.page.wait_for_url(f"{path}/promote?*")
            one.page.locator("#reason").focus()
            one.page.keyboard.type("smaller limits of agreement")
        anna.page.keyboard.press("Enter")
        anna.page.wait_for_url(f"{shown.url}/training", timeout=120_000)
        assert "oracle 2" in anna.page.inner_text(".lead")
        boris.page.keyboard.press("Enter")
        boris.page.wait_for_selector("text=Conflict", timeout=120_000)
        assert "operator put oracle 2 into service" in boris.page.inner_text("main")
        anna.page.click("#rollback")
        anna.page.fill("#reason", "one doubtful case")
        anna.page.click("button.main")
        anna.page.wait_for_url(f"{shown.url}/training", timeout=120_000)
        assert "oracle 2" not in anna.page.inner_text(".lead")
    rows = [(p.event, p.asked_by, p.reason) for p in shown.site.journal.promotions.all()]
    assert rows == [
        ("promoted", "operator", "smaller limits of agreement"),
        ("rolled_back", "operator", "one doubtful case"),
    ]


def test_a_viewer_sees_means_and_no_case(shown: Shown, visit: Any) -> None:
    with visit("viewer") as seen:
        seen.page.goto(f"{shown.url}/training/jobs/{shown.proposed}/proposal")
        text = seen.page.inner_text("main")
        assert "Single cases are for physicians and operators" in text
        assert "phantom-" not in text
        assert seen.page.locator("main button").count() == 0
