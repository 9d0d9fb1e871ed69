"""A result is corrected in viewers, comes back by storescu, becomes a case, and a retraining's proposal names it."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset

from dicomseg.read import header as headers
from dicomseg.read.seg_labels import read_labels
from dicomseg.read.series import Grid, assemble
from dicomseg.structures import BY_ID
from dicomseg.volume import Volume
from node.demo import servers
from node.journal.corrections import (
    CORRECTION_ACCEPTED,
    CORRECTION_REFUSED,
    CorrectionRow,
    CorrectionState,
)
from node.journal.job_rows import JobPlan
from node.journal.rows import ResultRow, SeriesKey
from node.models.plan import cases_below
from node.models.retraining import JobDirectory
from tests.support.corrections import OHIF, SLICER, only, shifted, store
from tests.support.phantoms import Truth
from tests.support.retraining import RECIPE, better_by_decree, tiny_bundle
from tests.support.sites import Site
from training.data import held_out
from training.data.cases import Case, list_cases_in, load_case

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(600)]

S = CorrectionState
OPTIONS = "[results]\npictures = false\n"


@dataclass(frozen=True)
class Corrected:
    """A node that has a result, and what a reader made of it. labels: of the result."""

    site: Site
    key: SeriesKey
    result: ResultRow
    images: list[Path]
    labels: Volume
    folder: Path

    @property
    def drawn(self) -> Volume:
        """The aorta moved, and the cava too."""
        moved = shifted(self.labels, BY_ID["aa"].value, 2, 4)
        return shifted(moved, BY_ID["ivc"].value, 1, 2)

    def judged(self, count: int) -> dict[str, CorrectionRow]:
        """Wait until so many segmentations are judged; by SOP Instance UID."""
        deadline = time.monotonic() + 90
        while time.monotonic() < deadline:
            rows = self.site.journal.corrections.all()
            if len(rows) >= count:
                return {r.sop_instance: r for r in rows}
            time.sleep(0.1)
        raise AssertionError(servers.tail(self.site.folder / "node.log", 20))

    def run(self, *arguments: str, code: int = 0) -> str:
        """Run a command of the node or of the training; returns what it printed."""
        name, *rest = arguments
        options = ["--config", str(self.site.config)] if name == "lumbar-node" else []
        done = subprocess.run(
            [servers.command(name), *rest, *options], capture_output=True, text=True, timeout=200, check=False
        )  # fmt: skip
        assert done.returncode == code, done.stderr
        return done.stdout


def _uid(file: Path) -> str:
    return str(dcmread(file, stop_before_pixels=True).SOPInstanceUID)


@pytest.fixture(scope="module")
def corrected(
    module_site: Callable[..., Site],
    small_coded: Truth,
    oracle_bundle: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> Corrected:
    folder = tmp_path_factory.mktemp("reader")
    stub = better_by_decree(folder / "first")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", os.pathsep.join([stub, os.environ.get("PYTHONPATH", "")]))
        here = module_site(bundle=oracle_bundle, extra=OPTIONS)
    here.send(small_coded.files)
    (row,) = here.wait(1)
    assert row.state == "delivered", row.reason
    (result,) = here.journal.results.of_series(row.key)
    images = [i.path for i in here.journal.instances.of_series(row.key)]
    grid = assemble([headers.read_instance(p) for p in images])
    assert isinstance(grid, Grid)
    labels = read_labels(dcmread(result.folder / "seg.dcm"), grid).labels
    return Corrected(here, row.key, result, images, Volume(labels, grid.affine), folder)


@pytest.fixture(scope="module")
def wrong(corrected: Corrected) -> dict[str, str]:
    """Send what is wrong, together, before anything right; returns UID by expected code."""
    elsewhere = corrected.drawn.affine.copy()
    elsewhere[:3, 3] += (0, 0.4, 0)
    nothing = corrected.labels.with_array(np.zeros_like(corrected.labels.array))

    def of_another(ds: Dataset) -> None:
        ds.PatientID = "another patient"

    def of_a_colleague(ds: Dataset) -> None:
        ds.SegmentSequence[2].SegmentLabel = "Doe^Jane"

    how: dict[str, dict[str, Any]] = {
        "other-patient": {"change": of_another},
        "other-grid": {"labels": Volume(corrected.drawn.array, elsewhere)},
        "unknown-segments": {"change": of_a_colleague, "viewer": OHIF},
        "nothing-drawn": {"labels": nothing},
    }
    files = {
        code: store(corrected.folder / f"{code}.dcm", corrected.images, **({"labels": corrected.drawn} | more))
        for code, more in how.items()
    }  # fmt: skip
    corrected.site.send([*files.values(), corrected.result.folder / "seg.dcm"])
    corrected.judged(len(files) + 1)
    return {code: _uid(file) for code, file in files.items()}


@pytest.fixture(scope="module")
def accepted(corrected: Corrected, wrong: dict[str, str]) -> tuple[str, str]:
    """Send a whole correction as OHIF stores it, then the cava alone; returns their UIDs."""
    before = len(wrong) + 1
    whole = shifted(corrected.labels, BY_ID["aa"].value, 2, 4)
    first = store(corrected.folder / "whole.dcm", corrected.images, whole, OHIF)
    second = store(
        corrected.folder / "ivc.dcm", corrected.images, corrected.drawn, SLICER, left_out=only("ivc")
    )  # fmt: skip
    for n, file in enumerate((first, second), start=1):
        corrected.site.send([file])
        corrected.judged(before + n)
    return _uid(first), _uid(second)


@pytest.fixture(scope="module")
def case(corrected: Corrected, accepted: tuple[str, str]) -> Case:
    """The prepared case that the import made, by the command that `lumbar-node corrections` prints."""
    listed = corrected.run("lumbar-node", "corrections").splitlines()
    assert listed[-1].startswith("1 case to import: lumbar-train import ")
    command = listed[-1].partition(": ")[2].replace("CASES", str(corrected.folder / "cases" / "corrected"))  # fmt: skip
    corrected.run(*command.replace("TEXT", "internal").split())
    (path,) = list_cases_in(corrected.folder / "cases" / "corrected")
    return load_case(path)


def test_a_wrong_one_is_refused_and_says_why_everywhere(
    corrected: Corrected, wrong: dict[str, str]
) -> None:
    rows = corrected.judged(len(wrong) + 1)
    listed = {e["sop_instance"]: e for e in json.loads(corrected.run("lumbar-node", "corrections", "--json"))}  # fmt: skip
    events = [e for e in corrected.site.journal.series.events(corrected.key) if e.event == CORRECTION_REFUSED]  # fmt: skip
    log = (corrected.site.folder / "node.log").read_text("utf-8")
    printed = corrected.run("lumbar-node", "corrections")
    for code, uid in wrong.items():
        assert (rows[uid].state, rows[uid].code) == (S.REFUSED, code)
        reason = rows[uid].reason
        assert reason
        assert (listed[uid]["code"], listed[uid]["reason"]) == (code, reason)
        assert f"{uid}: {reason}" in printed
        assert any(e.detail["code"] == code and e.detail["reason"] == reason for e in events)
        assert f'"code": "{code}"' in log or f"code={code}" in log
    own = rows[_uid(corrected.result.folder / "seg.dcm")]
    assert (own.state, own.code) == (S.UNRELATED, "unchanged-copy")
    for told in (log, printed, str(listed), str([e.detail for e in events])):
        assert "Doe" not in told
        assert "another patient" not in told


def test_objects_of_two_viewers_are_one_case_with_values_again(
    corrected: Corrected, accepted: tuple[str, str]
) -> None:
    first, second = (corrected.judged(1)[uid] for uid in accepted)
    assert {(r.state, r.source) for r in (first, second)} == {(S.ACCEPTED, corrected.key)}
    assert first.entry == second.entry
    (folder,) = (corrected.site.folder / "state" / "corrections" / "accepted").iterdir()
    assert folder.name == first.entry
    record = json.loads((folder / "correction.json").read_text("utf-8"))
    assert (len(record["segmentations"]), record["unchanged"]) == (2, [])
    for name in ("DAA", "DIVC"):
        value = second.figures["values"][name]
        assert value["before_mm"] is not None
        assert value["after_mm"] != pytest.approx(value["before_mm"], abs=0.2)
    told = [e for e in corrected.site.journal.series.events(corrected.key) if e.event == CORRECTION_ACCEPTED]  # fmt: skip
    assert [e.detail["sop_instance"] for e in told] == list(accepted)


def test_the_case_holds_what_the_readers_drew(corrected: Corrected, case: Case) -> None:
    for structure in ("aa", "ivc"):
        value = BY_ID[structure].value  # type: ignore[index]
        at = np.argwhere(case.labels == value).mean(axis=0)
        centre = case.affine[:3, :3] @ at + case.affine[:3, 3]
        drawn = corrected.drawn.to_patient(corrected.drawn.where(value).mean(axis=0))
        assert centre == pytest.approx(drawn, abs=1.0)
    assert case.card["labels_by"] == "corrected"
    provenance = case.card["correction"]
    assert {"aa", "ivc"} <= set(provenance["changed"])
    assert "l4" not in provenance["changed"]
    assert provenance["model"]["digest"]


def test_a_proposal_names_the_corrected_case(
    corrected: Corrected, case: Case, tiny_cases: Path
) -> None:
    cases = corrected.folder / "cases"
    for path in tiny_cases.rglob("*-*.*"):
        (cases / "others").mkdir(exist_ok=True)
        (cases / "others" / path.name).write_bytes(path.read_bytes())
    held_out.write_held_out(corrected.folder / "fixed.json", cases, ["phantom-000001"])
    (corrected.folder / "recipe.toml").write_text(RECIPE)
    bundle = tiny_bundle(corrected.folder / "in-service")
    plan = JobPlan(
        str(cases), str(corrected.folder / "fixed.json"), str(corrected.folder / "recipe.toml"),
        str(bundle), cases=cases_below(cases),
    )  # fmt: skip
    job = corrected.site.journal.jobs.enqueue(plan, "E. Miller").id
    deadline = time.monotonic() + 120
    while corrected.site.journal.jobs.get(job).state in {"queued", "running"}:
        assert time.monotonic() < deadline
        time.sleep(0.2)
    directory = JobDirectory.of(corrected.site.folder / "state", job)
    row = corrected.site.journal.jobs.get(job)
    assert row.state == "proposed", (row.reason, directory.tail())
    assert row.outcome["corrections"] == [case.case_id]
    card = json.loads((directory.candidate / "card.json").read_text("utf-8"))
    assert card["corrections"] == [case.case_id]
    shown = corrected.run("lumbar-node", "jobs", "show", str(job))
    assert f"1 corrected case went in: {case.case_id}" in shown
