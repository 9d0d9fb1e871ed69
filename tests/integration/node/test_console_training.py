"""The pages about training over real job folders: who sees what, broken files, promotion and rollback by two people."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from model.bundle.card import read_card
from node.audit.from_journal import promotion_entry
from node.config.schedule import ScheduleConfig, TrainingConfig
from node.console.console import Console
from node.console.live import Live
from node.console.training_watch import training_seen
from node.console.users import Role, User
from node.errors import PromotionRefused
from node.journal.journal import Journal
from node.journal.states import JobEvent, JobState
from node.models import change as changes
from node.models.change import ChangeAsked, change_bundle
from node.models.retraining import JobDirectory
from tests.support.consoles import HASH, Browser, console_over
from tests.support.jobs import PLAN
from tests.support.trainings import (
    coded_bundle,
    compared,
    comparison,
    proposed_job,
    side,
    write_folds,
    write_run,
)

HOSTILE = "<script>alert(1)</script>'\"&\u202e{{7*7}}"
CASE = "spider-007"


@dataclass
class Studio:
    """A node with one proposed job, its console, and the bundles."""

    console: Console
    journal: Journal
    state: Path
    job: int
    runs: Path

    @property
    def place(self) -> JobDirectory:
        return JobDirectory.of(self.state, self.job)

    def browser(self, role: str) -> Browser:
        found = Browser.of(self.console)
        assert found.log_in(role).status_code == 303
        return found


def scores(shift: float) -> list[dict[str, Any]]:
    """Six cases; the candidate's OC differs from the references by known amounts."""
    found = [
        compared(f"phantom-{n:06d}", 0.8 + 0.01 * n, {"OC": (10.0 + n + shift * (n % 3 - 1), 10.0 + n)})
        for n in range(5)
    ]  # fmt: skip
    return [compared(CASE, 0.5, {"OC": (12.0 + 2 * shift, 12.0), "PI": (None, 2.0)}), *found]


@pytest.fixture
def studio(tmp_path: Path) -> Studio:
    state = tmp_path / "state"
    journal = Journal.open(state / "journal.sqlite", time.time)
    serving, new = coded_bundle(tmp_path / "serving", "1"), coded_bundle(tmp_path / "new", "2")
    content = comparison(side(serving, scores(0.5)), side(new, scores(1.0)), notes=[f"1 of 6 cases, the first {CASE}, are not named"])  # fmt: skip
    job = proposed_job(journal, state, content)
    new.rename(JobDirectory.of(state, job).candidate)
    runs = tmp_path / "runs"
    write_run(runs / "by hand")
    write_folds(runs / "cv")
    made = console_over(journal, state)
    config = made.config.model_copy(
        update={
            "model": made.config.model.model_copy(update={"bundle": str(serving)}),
            "training": TrainingConfig(
                runs=str(runs),
                schedule=ScheduleConfig(cron="0 3 * * sun", data="d", held_out="h"),
            ),
        }
    )
    console = replace(made, config=config, change=change_bundle)
    for name in ("anna", "boris"):
        console.users.put(User(name, Role.OPERATOR, HASH))
    return Studio(console, journal, state, job, runs)


PAGES = ("/training", "/training/jobs/1", "/training/jobs/1/proposal", "/training/runs/cv", "/training/runs/by%20hand")  # fmt: skip


# ---- who sees what -------------------------------------------------------------------------------


def test_a_viewer_sees_curves_and_means_and_no_case(studio: Studio) -> None:
    studio.journal.jobs.enqueue(PLAN, "boris")
    failed = studio.journal.jobs.enqueue(PLAN, "boris").id
    studio.journal.jobs.advance(failed, JobEvent.FAULT, detail={"reason": f"{CASE} cannot be read"})
    browser = studio.browser("viewer")
    answers = [browser.get(p) for p in (*PAGES, f"/training/jobs/{failed}")]
    assert [a.status_code for a in answers] == [200] * 6
    text = "".join(a.text for a in answers)
    assert CASE not in text
    assert "phantom-0" not in text
    assert "Bland–Altman" not in text
    assert "PI <span" not in text  # one case alone has it
    assert "Put into service" not in text
    assert "+0.17" in answers[2].text  # the bias of six cases
    assert "0.8400" in answers[2].text
    for page in answers[1:3]:  # the gate's row of six cases, and not that of a single one
        assert (
            '<th scope="row">OC</th><td>6</td><td>0.62</td><td>0.50</td><td>-0.12</td>' in page.text
        )
        assert '<th scope="row">PI</th><td>1</td>' not in page.text
    assert browser.get("/training/jobs/1/worst/1-candidate.png").status_code == 403
    assert browser.get("/training/jobs/1/promote").status_code == 403
    assert browser.get("/training/rollback").status_code == 403


def test_a_physician_sees_cases_plots_and_pictures_and_no_button(studio: Studio) -> None:
    browser = studio.browser("physician")
    text = browser.get("/training/jobs/1/proposal").text
    assert text.count('class="curve"') == 2  # OC has pairs, PI none
    assert re.search(r"OC, candidate: 6 pairs, bias \+0\.17 mm, limits of agreement -2\.12 to \+2\.46 mm", text)  # fmt: skip
    assert "OC, in service: 6 pairs, bias +0.08 mm" in text
    assert re.search(rf"<bdi>{CASE}</bdi></th><td>0\.500</td><td>0\.500</td>", text)
    assert "are not named" in text
    assert "Put into service" not in text
    assert "An operator may put it into service" in text
    picture = browser.get("/training/jobs/1/worst/1-candidate.png")
    assert (picture.status_code, picture.headers["content-type"]) == (200, "image/png")
    assert browser.get("/training/jobs/1/worst/2-candidate.png").status_code == 404
    assert f"evaluated {CASE} in 3.2 s" in browser.get("/training/jobs/1").text


def test_the_first_page_has_schedule_jobs_and_runs(studio: Studio) -> None:
    text = studio.browser("operator").get("/training").text
    assert re.search(r"Next run</dt><dd><time datetime=\"20\d\d-\d\d-\d\dT03:00:00", text)
    assert "0 3 * * sun" in text
    assert 'href="/training/jobs/1"' in text
    assert "code 0" in text
    assert "proposed" in text
    assert 'href="/training/runs/by%20hand"' in text
    assert "1 of 2 folds finished" in text
    assert "step 400 of 400" in text
    assert "Return to the model before" not in text


def test_folds_have_a_table_and_a_curve_each(studio: Studio) -> None:
    text = studio.browser("operator").get("/training/runs/cv").text
    assert "0.850 ± 0.071" in text
    assert "with the weights of step 200, validation Dice 0.750" in text
    assert text.count('class="curve"') == 4


def test_a_job_has_curves_with_the_last_validation_in_words(studio: Studio) -> None:
    text = studio.browser("operator").get("/training/jobs/1").text
    assert "Loss: training 0.100 at step 400; validation 0.125 at step 400" in text
    assert "Validation at step 400: l4 0.950, n4 0.450." in text


# ---- broken and hostile files --------------------------------------------------------------------


def _break_with(content: bytes) -> Callable[[Path], None]:
    def breaking(file: Path) -> None:
        file.unlink()
        file.write_bytes(content)

    return breaking


def _pipe(file: Path) -> None:
    file.unlink()
    os.mkfifo(file)


def _link(file: Path) -> None:
    file.unlink()
    file.symlink_to("/etc/passwd")


@pytest.mark.parametrize(
    "breaking",
    [
        Path.unlink, _pipe, _link, _break_with(b""), _break_with(b"[" * 200_000), _break_with(b"\xff\xfe{}"),
        _break_with(b'{"verdict": "proposed", "candidate": {"scores": [1, {"case": "x", "dice": {"l4": 1e999}}]}, "cases": 3}'),
        _break_with(b" " * 5_000_000),
    ],
)  # fmt: skip
def test_no_file_of_a_run_makes_a_page_fail(studio: Studio, breaking: Any) -> None:
    out = studio.place.out
    files = [
        studio.place.log, out / "comparison.json", out / "run" / "curve.jsonl", out / "run" / "recipe.json",
        out / "worst" / "1-candidate.png", studio.runs / "by hand" / "curve.jsonl",
        studio.runs / "cv" / "fold-1" / "figures.json", studio.runs / "cv" / "fold-2" / "curve.jsonl",
    ]  # fmt: skip
    for file in files:
        breaking(file)
    browser = studio.browser("operator")
    answers = {p: browser.get(p) for p in PAGES}
    assert {a.status_code for a in answers.values()} == {200}
    assert "root:" not in "".join(a.text for a in answers.values())
    assert browser.get("/training/jobs/1/worst/1-candidate.png").status_code == 404


def test_a_broken_file_is_named(studio: Studio) -> None:
    (studio.place.out / "comparison.json").write_text("{")
    (studio.place.out / "run" / "curve.jsonl").unlink()
    browser = studio.browser("operator")
    assert "comparison.json is damaged: no JSON" in browser.get("/training/jobs/1/proposal").text
    assert "curve.jsonl is not there" in browser.get("/training/jobs/1").text


def test_hostile_texts_of_run_folders_stay_texts(studio: Studio) -> None:
    serving = {"name": HOSTILE, "version": HOSTILE, "digest": "d"}
    one = compared(HOSTILE[:60], 0.4, {"OC": (9.0, 10.0)})
    content = comparison({**serving, "scores": [one]}, {**serving, "scores": [one]}, reasons=[HOSTILE], notes=[HOSTILE])  # fmt: skip
    content["pictures"][0]["caption"] = HOSTILE
    (studio.place.out / "comparison.json").write_text(json.dumps(content))
    studio.place.log.write_text(HOSTILE)
    (studio.runs / "cv").rename(studio.runs / HOSTILE.replace("/", ""))
    browser = studio.browser("operator")
    pages = [browser.get(p).text for p in PAGES[:3]]
    (link,) = re.findall(r'href="(/training/runs/[^"]*script[^"]*)"', pages[0])
    for text in (*pages, browser.get(link).text):
        assert "<script>alert" not in text
        assert "\u202e" not in text
        assert ">49" not in text
        assert not re.search(r"\son\w+=|style=|javascript:", text)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in pages[2]


@pytest.mark.parametrize(
    "path",
    ["/training/jobs/99", "/training/jobs/99999999999999999999999", "/training/jobs/x", "/training/runs/nothing",
     "/training/runs/%2e%2e", "/training/runs/..%2fstate", "/training/jobs/1/worst/1-..%2fx.png", "/training/jobs/9/promote"],
)  # fmt: skip
def test_what_is_not_there_is_404(studio: Studio, path: str) -> None:
    assert studio.browser("operator").get(path).status_code == 404


# ---- promotion and rollback ----------------------------------------------------------------------


def form_of(browser: Browser, path: str, reason: str = "discs better by 0.02") -> dict[str, str]:
    """The form that a confirmation page holds, filled in."""
    text = browser.get(path).text
    found = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)"', text))
    assert {"token", "seen"} <= found.keys()
    return {**found, "reason": reason}


def test_promotion_and_rollback_are_recorded_as_those_of_the_command(studio: Studio) -> None:
    browser = studio.browser("anna")
    path = f"/training/jobs/{studio.job}/promote"
    answer = browser.post(path, form_of(browser, path))
    assert (answer.status_code, answer.headers["location"]) == (303, "/training")
    row = studio.journal.promotions.newest()
    assert row is not None
    assert (row.event, row.version, row.asked_by, row.reason, row.job_id) == ("promoted", "2", "anna", "discs better by 0.02", studio.job)  # fmt: skip
    assert row.folder is not None
    assert read_card(row.folder)["digest"] == row.digest
    assert studio.journal.jobs.get(studio.job).state is JobState.PROMOTED
    entry = promotion_entry(row)
    assert (entry.who[0].user, entry.what["change"]) == ("anna", "promoted")
    page = browser.get("/training").text
    assert "oracle 2" in page
    assert "Return to the model before" in page
    back = browser.post("/training/rollback", form_of(browser, "/training/rollback", "misses the cava"))  # fmt: skip
    assert back.status_code == 303
    newest = studio.journal.promotions.newest()
    assert newest is not None
    assert (newest.event, newest.version, newest.folder, newest.reason) == ("rolled_back", "1", None, "misses the cava")  # fmt: skip
    assert browser.get("/training/rollback").status_code == 409
    assert browser.get(path).status_code == 409


def test_of_two_people_the_second_gets_409_and_who_was_first(studio: Studio) -> None:
    path = f"/training/jobs/{studio.job}/promote"
    anna, boris = studio.browser("anna"), studio.browser("boris")
    forms = [form_of(b, path) for b in (anna, boris)]
    assert anna.post(path, forms[0]).status_code == 303
    answer = boris.post(path, forms[1])
    assert answer.status_code == 409
    assert "anna put oracle 2 into service" in answer.text
    assert f'href="/training/jobs/{studio.job}"' in answer.text
    assert len(studio.journal.promotions.all()) == 1


def test_two_at_the_same_moment_make_one_promotion(studio: Studio) -> None:
    path = f"/training/jobs/{studio.job}/promote"
    people = [studio.browser(n) for n in ("anna", "boris")]
    forms = [form_of(b, path) for b in people]
    with ThreadPoolExecutor(2) as pool:
        answers = list(pool.map(lambda pair: pair[0].post(path, pair[1]), zip(people, forms, strict=True)))  # fmt: skip
    assert sorted(a.status_code for a in answers) == [303, 409]
    assert "into service at" in next(a.text for a in answers if a.status_code == 409)
    assert len(studio.journal.promotions.all()) == 1


def test_a_rollback_of_what_was_changed_meanwhile_is_409(studio: Studio) -> None:
    path = f"/training/jobs/{studio.job}/promote"
    anna, boris = studio.browser("anna"), studio.browser("boris")
    assert anna.post(path, form_of(anna, path)).status_code == 303
    old = form_of(boris, "/training/rollback", "too soon")
    assert anna.post("/training/rollback", form_of(anna, "/training/rollback")).status_code == 303
    answer = boris.post("/training/rollback", old)
    assert answer.status_code == 409
    assert "anna put oracle 1 into service" in answer.text
    assert "rolled back" in answer.text


@pytest.mark.parametrize("reason", ["", "   ", "x" * 501, "a\x00b"])
def test_without_a_reason_nothing_is_done_and_it_is_asked_again(studio: Studio, reason: str) -> None:  # fmt: skip
    browser = studio.browser("anna")
    path = f"/training/jobs/{studio.job}/promote"
    answer = browser.post(path, form_of(browser, path, reason))
    assert answer.status_code == 400
    assert "Give a reason" in answer.text
    assert studio.journal.promotions.all() == []


def test_forms_of_others_are_refused(studio: Studio) -> None:
    browser = studio.browser("anna")
    path = f"/training/jobs/{studio.job}/promote"
    form = form_of(browser, path)
    assert browser.post(path, {**form, "token": "0" * 64}).status_code == 403
    assert browser.post(path, form, origin="http://evil.example").status_code == 403
    assert studio.browser("physician").post(path, form).status_code == 403
    assert studio.journal.promotions.all() == []


def test_a_candidate_that_is_not_what_was_compared_is_refused_with_the_reason(studio: Studio) -> None:  # fmt: skip
    coded_bundle(studio.place.candidate, "3")
    browser = studio.browser("anna")
    path = f"/training/jobs/{studio.job}/promote"
    answer = browser.post(path, form_of(browser, path))
    assert answer.status_code == 409
    assert "is not the bundle that was compared" in answer.text


def test_a_comparison_with_another_model_is_said_before(studio: Studio) -> None:
    (studio.state / "models").mkdir()
    other = coded_bundle(studio.state / "models" / "oracle-9", "9")
    config = studio.console.config
    studio.console = replace(
        studio.console,
        config=config.model_copy(
            update={"model": config.model.model_copy(update={"bundle": str(other)})}
        ),
    )
    text = studio.browser("operator").get("/training/jobs/1/proposal").text
    assert "compared with another model than oracle 9" in text


def test_a_process_that_gives_no_answer_is_a_refusal(
    studio: Studio, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ChangeAsked(str(studio.state), "", None, "anna", "why", 0)
    monkeypatch.setattr(changes, "MODULE", "node.models.nothing")
    with pytest.raises(PromotionRefused, match="ended without an answer"):
        change_bundle(asked)
    monkeypatch.setattr(changes, "TIMEOUT_S", 0.01)
    with pytest.raises(PromotionRefused, match="took longer"):
        change_bundle(asked)


# ---- live ----------------------------------------------------------------------------------------


def test_what_a_training_writes_is_seen(studio: Studio) -> None:
    seen = [training_seen(studio.console)]

    def changed() -> bool:
        seen.append(training_seen(studio.console))
        return seen[-1] != seen[-2]

    assert not changed()
    job = studio.journal.jobs.enqueue(PLAN, "anna").id
    assert changed()
    studio.journal.jobs.start(job, 1, "", PLAN)
    assert changed()
    write_run(JobDirectory.of(studio.state, job).out / "run")
    assert changed()
    with (studio.runs / "cv" / "fold-2" / "curve.jsonl").open("a") as file:
        file.write("{}\n")
    assert changed()
    assert not changed()


def test_a_page_is_told_that_a_training_went_on() -> None:
    from asyncio import run
    from concurrent.futures import ThreadPoolExecutor as Pool

    values = iter([1, 1, 2])

    async def story() -> list[str]:
        with Pool(1) as pool:
            live = Live(None, pool, training=lambda: next(values))  # type: ignore[arg-type]
            reader = live.join()
            for _ in range(3):
                await live._look_at_training()
            messages = [reader.waiting.get_nowait() for _ in range(reader.waiting.qsize())]
            return [m["event"] for m in messages if m]

    with ThreadPoolExecutor(1) as apart:
        assert apart.submit(lambda: run(story())).result() == ["training"]
