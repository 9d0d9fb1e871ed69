"""What travels with a fold, what comes back, and which cases are the same."""

from __future__ import annotations

import io
import shutil
import tarfile
from pathlib import Path

import pytest

from training.data.folds import Fold
from training.evaluate.crossval_plan import Cohort, CrossvalPlan
from training.fit.recipe import Recipe
from training.spread.folders import job_of, keep
from training.spread.kind import FoldKind, digest_of_cases
from training.spread.parcel import pack, unpack
from training.spread.remote import Made


def _write(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(name)
    return root


def _files(root: Path) -> list[str]:
    return sorted(p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file())


def test_a_job_holds_what_folds_share_and_its_own_beginning_alone(tmp_path: Path) -> None:
    out = _write(
        tmp_path / "out", "first/bundle/card.json", "first/checkpoint.pt", "level.pt",
        "fold-1/checkpoint.pt", "fold-1/.lock", "fold-2/checkpoint.pt", "crossval.cases/a.json",
        "crossval.cases/b.json", ".fold-1.lock", "folds.json",
    )  # fmt: skip
    weights = _write(tmp_path, "given.pt") / "given.pt"
    plan = CrossvalPlan(Recipe(), first=Recipe(), level=str(weights), level_first=5)
    cohort = Cohort(tmp_path, {"a": tmp_path, "b": tmp_path}, tmp_path)
    job = job_of(1, "x", Fold(("a",), (), ("b",)), cohort, out, plan, 60.0)
    unpack(job.parcel, tmp_path / "there")
    assert _files(tmp_path / "there") == [
        "crossval.cases/a.json", "first/bundle/card.json", "fold-1/checkpoint.pt", "level.pt",
    ]  # fmt: skip
    assert job.level == b"given.pt"
    assert job.tested == ("a", "b")


def test_what_comes_back_replaces_the_fold_and_adds_its_cases(tmp_path: Path) -> None:
    out = _write(tmp_path / "out", "fold-1/old.pt", "fold-2/mine.pt", "crossval.cases/b.json")
    came = _write(tmp_path / "came", "fold-1/figures.json", "crossval.cases/a.json")
    keep(1, Made(1, pack(came, ("fold-1", "crossval.cases"))), out)
    assert [f for f in _files(out) if not f.startswith(".")] == [
        "crossval.cases/a.json", "crossval.cases/b.json", "fold-1/figures.json", "fold-2/mine.pt",
    ]  # fmt: skip


def test_a_parcel_that_leads_outside_is_refused(tmp_path: Path) -> None:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("../outside"))
    with pytest.raises(tarfile.TarError):
        unpack(made.getvalue(), tmp_path / "here")
    assert not (tmp_path / "outside").exists()


def test_a_copy_has_the_digest_and_every_other_folder_has_not(
    tiny_cases: Path, tmp_path: Path
) -> None:
    copied, changed, moved, fewer = (tmp_path / n for n in ("copied", "changed", "moved", "fewer"))
    for folder in (copied, changed, moved, fewer):
        shutil.copytree(tiny_cases, folder)
    image = next(changed.rglob("*.npz"))
    image.write_bytes(image.read_bytes() + b"x")
    (moved / "spider").rename(moved / "other")
    next(fewer.rglob("*.json")).unlink()
    digests = {folder.name: digest_of_cases(folder) for folder in (copied, changed, moved, fewer)}
    assert digests.pop("copied") == digest_of_cases(tiny_cases)
    assert digest_of_cases(tiny_cases) not in digests.values()
    assert len(set(digests.values())) == 3


HOME = FoldKind("0.9", "3.11", "2026.8.0", "2.13.0+cpu", "c" * 64, "b" * 64)


@pytest.mark.parametrize(
    ("there", "why"),
    [
        (("0.8", "3.11", "2026.8.0", "2.13.0", "c" * 64, "b" * 64), "version 0.8, here is 0.9"),
        (("0.9", "3.12", "2026.8.0", "2.13.0", "c" * 64, "b" * 64), "Python 3.12, here is 3.11"),
        (("0.9", "3.11", "2025.1.0", "2.13.0", "c" * 64, "b" * 64), "distributed 2025.1.0"),
        (("0.9", "3.11", "2026.8.0", "2.12.0", "c" * 64, "b" * 64), "torch 2.12.0, here is 2.13.0"),
        (("0.9", "3.11", "2026.8.0", "2.13.0", "d" * 64, "b" * 64), "cases dddddddddddd, here are c"),
        (("0.9", "3.11", "2026.8.0", "2.13.0", "c" * 64, "e" * 64), "shipped bundle eeeeeeeeeeee"),
    ],
)  # fmt: skip
def test_a_worker_that_differs_is_refused_with_what_differs(
    there: tuple[str, str, str, str, str, str], why: str
) -> None:
    assert why in FoldKind(*there).unlike(HOME)


def test_a_build_of_torch_for_a_gpu_is_the_same_torch() -> None:
    there = FoldKind("0.9", "3.11", "2026.8.0", "2.13.0+cu130", "c" * 64, "b" * 64)
    assert there.unlike(HOME) == ""
    assert FoldKind.read([there.resource]) == there
