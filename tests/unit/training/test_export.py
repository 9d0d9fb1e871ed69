"""From a training run to a bundle, by functions and by the command line."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from typer.testing import CliRunner

from dicomseg.result import ModelError
from dicomseg.structures import StructureId
from dicomseg.volume import AXIAL, build_affine
from model.bundle.card import WEIGHTS, read_card
from model.bundle.load import load_bundle
from model.bundle.load_torch import load_network
from model.bundle.write import write_coded_bundle
from model.engines.coded import encode_labels
from model.errors import BundleError
from model.networks.deeplab import Architecture, DeepLabV3Plus3D
from model.networks.level_unet import LevelArchitecture, LevelNet
from model.patch import Patch
from training.cli import app as cli
from training.data.cases import Case, save_case
from training.errors import CheckpointUnreadable, SourceMissing, UsageError
from training.evaluate.evaluate import choose_cases
from training.export import CardFields, export, join_finders
from training.fit.recipe import Recipe
from training.fit.segmentation import segmentation_trainer, train_segmentation

pytestmark = pytest.mark.slow  # none of them alone, all of them together

TINY = Recipe(
    architecture=Architecture(width=4, dilations=(1,), decoder=2),
    crops=((8, 16, 16),),
    steps=2,
    warm_up=1,
    learning_rate=0.05,
    held_out=("spider-b",),
)
FIELDS = CardFields("0.9", "2030-01-02", extra={"model_sd_mm": {"PI_LEFT": 0.7}})
SHAPE = (40, 64, 48)


def case_of(name: str) -> Case:
    labels = np.zeros(SHAPE, np.uint8)
    slim = 4 if name.endswith("b") else 0  # equal labels are those of one person
    across = (slice(20 + slim, 44 - slim), slice(12 + slim, 36 - slim))
    labels[26:36][:, *across] = 1
    labels[16:26][:, *across] = 2
    labels[6:16][:, *across] = 3
    coded = encode_labels(labels, np.zeros_like(labels), np.full(SHAPE, 4.0)).astype(np.float32)
    affine = build_affine(AXIAL, (0.8, 0.75, 0.75), (0.0, 0.0, 0.0))
    x, y, z = (float(v) for v in affine[:3, :3] @ np.array([20.5, 31.5, 23.5]))
    names: tuple[StructureId, ...] = ("l4", "ivd", "l5")
    centre = (x, y, z)
    return Case(
        name, name, "spider", coded, labels, affine, names, centre, (0.0, 0.0, 1.0), {"l45": centre}
    )


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two cases and a training run of two steps, made once; every test gets a copy of its own."""
    root = tmp_path_factory.mktemp("export")
    for name in ("spider-a", "spider-b"):
        save_case(case_of(name), root / "cases" / "spider")
    fit = segmentation_trainer(TINY, [root / "cases" / "spider" / "spider-a.npz"], [])
    (root / "run").mkdir()
    (root / "run" / "recipe.json").write_text(json.dumps(TINY.to_dict()))
    train_segmentation(fit, root / "run")
    return root


@pytest.fixture
def cases(tmp_path: Path, prepared: Path) -> Path:
    return shutil.copytree(prepared / "cases", tmp_path / "cases")


@pytest.fixture
def trained(tmp_path: Path, prepared: Path) -> Path:
    return shutil.copytree(prepared / "run", tmp_path / "run")


@pytest.fixture
def level(tmp_path: Path) -> Path:
    torch.manual_seed(2)
    torch.save(LevelNet(LevelArchitecture(width=8)).state_dict(), tmp_path / "level.pt")
    return tmp_path / "level.pt"


def test_the_averaged_weights_are_shipped(trained: Path, level: Path, tmp_path: Path) -> None:
    model = load_bundle(export(trained, [level], tmp_path / "bundle", FIELDS), device="cpu")
    state = torch.load(trained / "checkpoint.pt", weights_only=True)
    values = np.random.default_rng(1).normal(size=(8, 12, 16)).astype(np.float32)
    patch = Patch(values, np.ones(values.shape, bool), np.eye(4), 0.0, 1.0)
    answers = {}
    for kind in ("average", "network"):
        network = DeepLabV3Plus3D(TINY.architecture).eval()
        network.load_state_dict(state[kind])
        with torch.inference_mode():
            answers[kind] = network(torch.from_numpy(values)[None, None])[0].numpy()
    found = model.engine.run(patch)
    np.testing.assert_allclose(found, answers["average"], atol=1e-4)
    assert np.abs(found - answers["network"]).max() > 1e-3
    assert model.model_errors == {"PI_LEFT": ModelError(0.7)}
    assert model.card["training"]["held_out"] == ["spider-b"]
    assert model.card["training"]["steps"] == 2
    assert model.card["created"] == "2030-01-02"
    assert model.card["level_architecture"]["width"] == 8


@pytest.mark.slow
def test_the_mean_of_several_runs_and_a_bundle_is_shipped(
    trained: Path, level: Path, cases: Path, tmp_path: Path
) -> None:
    """Each with the same share; held out is what none of them saw."""
    recipe = replace(TINY, seed=9, held_out=("spider-b", "spider-c"))
    second = tmp_path / "second"
    second.mkdir()
    (second / "recipe.json").write_text(json.dumps(recipe.to_dict()))
    train_segmentation(
        segmentation_trainer(recipe, [cases / "spider" / "spider-a.npz"], []), second
    )
    old = export(second, [level], tmp_path / "old", replace(FIELDS, version="0.8"))
    new = export(trained, [level], tmp_path / "new", FIELDS, mean_with=[second, old])
    first, other = (
        torch.load(p / "checkpoint.pt", weights_only=True)["average"] for p in (trained, second)
    )
    assert any(not torch.equal(first[key], other[key]) for key in first)
    for key, value in load_network(new).state_dict().items():
        if value.is_floating_point():
            torch.testing.assert_close(value, (first[key] + 2 * other[key]) / 3, msg=key)
    training_facts = read_card(new)["training"]
    assert training_facts["held_out"] == ["spider-b"]
    assert training_facts["mean_with"][0]["recipe"]["seed"] == 9
    assert training_facts["mean_with"][1]["version"] == "0.8"
    assert "mean_with" not in read_card(old)["training"]


@pytest.mark.slow
def test_weights_of_another_architecture_have_no_mean(
    trained: Path, level: Path, cases: Path, tmp_path: Path
) -> None:
    wide = replace(TINY, architecture=replace(TINY.architecture, width=8))
    other = tmp_path / "other"
    other.mkdir()
    (other / "recipe.json").write_text(json.dumps(wide.to_dict()))
    train_segmentation(segmentation_trainer(wide, [cases / "spider" / "spider-a.npz"], []), other)
    with pytest.raises(UsageError, match=r"other has the architecture .*width=8"):
        export(trained, [level], tmp_path / "bundle", FIELDS, mean_with=[other])


def test_level_weights_may_be_safetensors(trained: Path, level: Path, tmp_path: Path) -> None:
    tensors = torch.load(level, weights_only=True)
    save_file(tensors, tmp_path / "level.safetensors")
    one = load_bundle(export(trained, [level], tmp_path / "one", FIELDS))
    two = load_bundle(export(trained, [tmp_path / "level.safetensors"], tmp_path / "two", FIELDS))
    # The graphs differ by the names that OpenVINO gives to steps, which count on within a process.
    weights = [{k: v for k, v in m.card["files"].items() if "graph" not in k} for m in (one, two)]
    assert weights[0] == weights[1]


def test_what_does_not_fit_is_refused_by_name(trained: Path, level: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointUnreadable, match=r"recipe\.json"):
        export(tmp_path, [level], tmp_path / "bundle", FIELDS)
    (tmp_path / "broken.pt").write_bytes(level.read_bytes()[:200])
    for wrong in (tmp_path / "broken.pt", tmp_path / "none.safetensors", trained / "checkpoint.pt"):
        with pytest.raises(CheckpointUnreadable, match=wrong.name):
            export(trained, [wrong], tmp_path / "bundle", FIELDS)
    other = {**TINY.to_dict(), "architecture": Architecture(width=8).to_dict()}
    (trained / "recipe.json").write_text(json.dumps(other))
    with pytest.raises(CheckpointUnreadable, match="does not fit"):
        export(trained, [level], tmp_path / "bundle", FIELDS)
    assert not (tmp_path / "bundle").exists()


def test_a_card_field_of_the_export_may_not_be_replaced(
    trained: Path, level: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match="'training'"):
        export(trained, [level], tmp_path / "bundle", CardFields("1", "", extra={"training": {}}))


def test_a_bundle_goes_on_with_other_finders_and_its_card_says_no_more_than_is_true(
    trained: Path, level: Path, tmp_path: Path
) -> None:
    errors = {"model_sd_mm": {"PI_LEFT": 0.7}, "model_share": {"PI_LEFT": 0.5}}
    training_facts = replace(
        FIELDS, extra={**errors, "licence": "CC0", "outline_shifts": {"aa": -1.0}}
    )
    first = export(trained, [level], tmp_path / "first", training_facts)
    renewed = CardFields("1.0", "2031-01-01")
    both = export(first, [level, level], tmp_path / "both", renewed)
    card = read_card(both)
    assert card["level_architecture"]["members"] == 2
    assert (card["version"], card["licence"]) == ("1.0", "CC0")
    assert card["training"] == read_card(first)["training"]
    assert card["outline_shifts"] == {"aa": -1.0}  # of the weights themselves
    assert not errors.keys() & card.keys()  # measured with another finder
    weights = [(folder / WEIGHTS).read_bytes() for folder in (first, both)]
    assert weights[0] == weights[1]
    with pytest.raises(UsageError, match="'architecture'"):
        export(first, [level], tmp_path / "x", CardFields("1", "", extra={"architecture": {}}))
    torch.save(LevelNet(LevelArchitecture(width=4)).state_dict(), tmp_path / "small.pt")
    with pytest.raises(UsageError, match="different sizes"):
        export(first, [level, tmp_path / "small.pt"], tmp_path / "x", renewed)
    assert not (tmp_path / "x").exists()


def test_a_finder_of_two_answers_as_the_mean_of_both(tmp_path: Path) -> None:
    files = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        files.append(tmp_path / f"{seed}.pt")
        torch.save(LevelNet(LevelArchitecture(width=4)).state_dict(), files[-1])
    image = torch.randn(1, 1, 16, 16, 8)
    with torch.inference_mode():
        one, other = (torch.sigmoid(join_finders([file])[0](image)) for file in files)
        both = torch.sigmoid(join_finders(files)[0](image))
    torch.testing.assert_close(both, (one + other) / 2, atol=1e-5, rtol=1e-4)
    assert float((one - other).abs().max()) > 1e-3


def test_only_held_out_cases_are_evaluated_unless_told(
    cases: Path, trained: Path, level: Path, tmp_path: Path
) -> None:
    model = load_bundle(export(trained, [level], tmp_path / "bundle", FIELDS))
    assert [p.stem for p in choose_cases(cases, model)] == ["spider-b"]
    assert [p.stem for p in choose_cases(cases, model, every=True)] == ["spider-a", "spider-b"]
    assert [p.stem for p in choose_cases(cases, model, ("spider-a",))] == ["spider-a"]
    with pytest.raises(SourceMissing, match="spider-c"):
        choose_cases(cases, model, ("spider-c",))
    with pytest.raises(SourceMissing, match="no folder"):
        choose_cases(tmp_path / "none", model)
    blind = load_bundle(write_coded_bundle(tmp_path / "oracle"))
    with pytest.raises(SourceMissing, match="--all"):
        choose_cases(cases, blind)


def invoke(*arguments: str | Path) -> str:
    done = CliRunner().invoke(cli.app, [str(a) for a in arguments], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_fit_resume_export_by_the_command_line(cases: Path, level: Path, tmp_path: Path) -> None:
    recipe, out = tmp_path / "recipe.toml", tmp_path / "trained"
    recipe.write_text(
        "steps = 2\nwarm_up = 1\ncrops = [[8, 16, 16]]\nnarrow = [8, 16, 16]\n"
        "[architecture]\nwidth = 4\ndilations = [1]\ndecoder = 2\n"
    )
    options = ("--cases", cases, "--out", out, "--recipe", recipe, "--held-out", "spider-b")
    text = invoke("fit", *options, "--max-minutes", "0")
    assert "step 0 of 2, time limit reached" in text
    assert json.loads((out / "recipe.json").read_text())["held_out"] == ["spider-b"]
    assert "step 2 of 2, done" in invoke("fit", *options)
    with pytest.raises(UsageError, match="held_out"):
        invoke("fit", *options[:-2])
    made = tmp_path / "bundle"
    invoke("export", "--run", out, "--level", level, "--out", made, "--version", "7")
    assert load_bundle(made).info.version == "7"


def test_a_fresh_run_leaves_nothing_of_the_old_one(cases: Path, tmp_path: Path) -> None:
    recipe, out = tmp_path / "recipe.toml", tmp_path / "trained"
    recipe.write_text("steps = 9\n[architecture]\nwidth = 4\n")
    options = ("fit", "--cases", cases, "--out", out, "--max-minutes", "0")
    invoke(*options)
    assert "step 0 of 9" in invoke(*options, "--recipe", recipe, "--no-resume")
    state = torch.load(out / "checkpoint.pt", weights_only=True)
    assert state["network"]["stem.0.0.weight"].shape[0] == 4


def test_evaluate_by_the_command_line(cases: Path, tmp_path: Path) -> None:
    made = write_coded_bundle(tmp_path / "oracle")
    options = ("--cases", cases, "--bundle", made, "--out", tmp_path / "figures.json")
    text = invoke("evaluate", *options, "--case", "spider-a")
    assert "1.000" in text
    figures = json.loads((tmp_path / "figures.json").read_text())
    (case,) = figures["cases"]
    assert {k: v["dice"] for k, v in case["scores"].items()} == {"l4": 1.0, "ivd": 1.0, "l5": 1.0}
    assert case["level_error_mm"] == pytest.approx(0.0, abs=1e-6)
    assert case["unseen"] is False
    assert figures["bundle"]["digest"] == load_bundle(made).info.digest


def test_a_broken_bundle_is_refused(cases: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError):
        invoke("evaluate", "--cases", cases, "--bundle", tmp_path)


def test_the_first_example_of_evaluate_works_on_a_sites_own_cases(
    trained: Path, level: Path, cases: Path, tmp_path: Path
) -> None:
    """No case there is one of the card's: all are evaluated, and none is called unseen."""
    own = tmp_path / "own"
    save_case(case_of("mine-a"), own)
    made = export(trained, [level], tmp_path / "bundle", FIELDS)
    out, csv = tmp_path / "results.json", tmp_path / "results.csv"
    call = ["evaluate", "--cases", own, "--bundle", made, "--out", out, "--csv", csv]
    text = invoke(*call, "--device", "cpu")
    assert "none of the bundle's held-out cases: all 1 are evaluated" in text
    (case,) = json.loads(out.read_text())["cases"]
    assert (case["case_id"], case["unseen"]) == ("mine-a", False)
    model = load_bundle(made)
    save_case(case_of("spider-b"), own)
    assert [p.stem for p in choose_cases(own, model, foreign=True)] == ["spider-b"]
    (tmp_path / "none").mkdir()
    with pytest.raises(SourceMissing, match="no prepared case below"):
        choose_cases(tmp_path / "none", model, foreign=True)
