"""Answers beside readings: closed forms, a volume of upright tubes through the command, and real volumes.

Of the real volumes beside the repository every second one is compared; `VOLUMES=all` compares all of them.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import nibabel
import numpy as np
import pytest
from shapely.geometry import Polygon
from typer.testing import CliRunner

from dicomseg.result import Plane
from dicomseg.volume import Array
from model.bundle.card import default_path
from model.bundle.load import load_bundle
from model.bundle.write import write_coded_bundle
from model.engines.coded import encode_labels
from training.cli.app import app
from training.errors import ReadingsUnreadable
from training.evaluate import reading_comparison, readings
from training.evaluate.cached_model import cached
from training.evaluate.reading_comparison import ReadValue, VolumeComparison

SPACING = (0.8, 0.75, 0.75)
SHAPE = (60, 140, 104)
TUBES = {  # structure value: centres (left, back) and radii in mm
    4: ((0.0, 27.0, 8.0),),
    6: ((14.0, -28.0, 6.0), (-8.0, -30.0, 5.0)),
    7: ((34.0, -2.0, 11.0), (-34.0, -2.0, 11.0)),
    8: ((-22.0, -22.0, 6.0),),
}
OC = float(np.hypot(20.0, 26.0) - 17.0)
PI = float(np.hypot(12.0, 20.0) - 17.0)


def circle(a: float, b: float, radius: float) -> list[list[float]]:
    t = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    return np.stack([a + radius * np.cos(t), b + radius * np.sin(t)], axis=1).tolist()


def margins() -> tuple[Array, Array]:
    """Logits of the tubes about a disc of 10 mm, index (slice, row, column), and LPS of the voxels."""
    index = np.stack(np.meshgrid(*(np.arange(n) for n in SHAPE), indexing="ij"), axis=-1)
    z, y, x = ((index[..., n] - (SHAPE[n] - 1) / 2) * SPACING[n] for n in range(3))
    logits = np.full((9, *SHAPE), -8.0, np.float32)
    logits[0] = 0.0
    for value, tubes in TUBES.items():
        logits[value] = np.max([r - np.hypot(x - a, y - b) for a, b, r in tubes], axis=0)
    body = 16.0 - np.hypot(x * 0.7, y)
    for value, along in ((1, z - 5), (2, 5 - np.abs(z)), (3, -z - 5)):
        logits[value] = np.minimum(body, along)
    return logits, z


def write_folder(folder: Path) -> Path:
    """One volume whose grey values are its answer, its bodies, and two readings of true circles."""
    folder.mkdir()
    logits, _ = margins()
    order = np.argsort(-logits, axis=0, kind="stable")
    lead = np.take_along_axis(logits, order[:2], axis=0)
    coded = encode_labels(order[0].astype(np.uint8), order[1].astype(np.uint8), lead[0] - lead[1])
    best = order[0]
    bodies = np.where(best == 3, 1, np.where(best == 1, 2, 0)).astype(np.uint8)
    affine = np.eye(4)  # array axes (slice, row, column) are z, y, x; RAS turns x and y
    affine[:3, :3] = [[0, 0, -SPACING[2]], [0, -SPACING[1], 0], [SPACING[0], 0, 0]]
    affine[:3, 3] = -affine[:3, :3] @ ((np.array(SHAPE) - 1) / 2)
    for kind, array in (("image", coded), ("labels", bodies)):
        nibabel.save(nibabel.nifti1.Nifti1Image(array, affine), folder / f"01.{kind}.nii.gz")  # type: ignore[no-untyped-call]
    drawn = [
        *({"kind": "artery", "points": circle(*tube)} for tube in TUBES[6]),
        {"kind": "vein", "points": circle(*TUBES[8][0])},
        {"kind": "psoas_left", "points": circle(*TUBES[7][0])},
        {"kind": "psoas_right", "points": circle(*TUBES[7][1])},
    ]
    wider = [*drawn[:2], {"kind": "vein", "points": circle(-22.0, -22.0, 7.0)}, *drawn[3:]]
    plane = {"point_lps": [0, 0, 0], "normal_lps": [0, 0, 1], "a_lps": [1, 0, 0], "b_lps": [0, 1, 0]}  # fmt: skip
    drawings = [{"reader": str(n), "structures": s} for n, s in enumerate((drawn, wider))]
    text = json.dumps({"cases": {"01": {"plane": plane, "readings": drawings}}})
    (folder / readings.READINGS).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_folder(tmp_path_factory.mktemp("real") / "volumes")


def test_a_reading_gives_the_gaps_and_diameters_of_its_outlines(folder: Path) -> None:
    one = readings.read_readings(folder)[0]
    first, second = (r.values_mm() for r in one.readings)
    for name, value in {"OC": OC, "DAA": 12.0, "DIVC": 12.0, "PI": PI}.items():
        assert first[name] == pytest.approx(value, abs=0.02), name  # type: ignore[index]
    assert second["DIVC"] == pytest.approx(14.0, abs=0.02)
    assert second["PI"] == pytest.approx(PI - 1.0, abs=0.02)


def test_readings_of_another_form_are_refused_in_one_line(tmp_path: Path) -> None:
    with pytest.raises(ReadingsUnreadable, match="No such file"):
        readings.read_readings(tmp_path)
    (tmp_path / readings.READINGS).write_text('{"cases": {"01": {"plane": {}}}}', encoding="utf-8")
    with pytest.raises(ReadingsUnreadable, match="KeyError 'point_lps'"):
        readings.read_readings(tmp_path)


def test_the_command_measures_a_volume_beside_its_readings(folder: Path, tmp_path: Path) -> None:
    model, out = write_coded_bundle(tmp_path / "oracle"), tmp_path / "out"
    run = CliRunner().invoke(
        app, ["check-real", str(folder), "--out", str(out), "--bundle", str(model)]
    )
    assert run.exit_code == 0, run.output
    (case,) = json.loads((out / "check.json").read_text(encoding="utf-8"))["cases"]
    for name, value in {"OC": OC, "DAA": 12.0, "DIVC": 12.0, "PI": PI}.items():
        assert case["measurements"][name]["value_mm"] == pytest.approx(value, abs=0.3), name
    apart = case["measurements"]["DIVC"]["differences_mm"]
    assert apart == [pytest.approx(0.0, abs=0.3), pytest.approx(-2.0, abs=0.3)]
    for kind, dice in case["plane_dice"].items():
        assert dice[0] > 0.97, kind
    assert case["plane_dice"]["vein"][1] == pytest.approx(2 * 36 / (36 + 49), abs=0.02)
    assert case["bodies_dice"] == {"l5": 1.0, "l4": 1.0}
    assert (out / "planes.png").stat().st_size > 10_000


def test_a_kept_answer_is_not_worked_out_again(folder: Path, tmp_path: Path) -> None:
    asked: list[tuple[int, ...]] = []
    model = load_bundle(write_coded_bundle(tmp_path / "oracle"))
    run = model.engine.run
    model.engine.run = lambda patch: asked.append(patch.values.shape) or run(patch)  # type: ignore[method-assign, func-returns-value]
    kept = cached(model, tmp_path / "answers")
    first = reading_comparison.compare_all(folder, kept)[0]
    count = len(asked)
    second = reading_comparison.compare_all(folder, kept)[0]
    assert len(asked) == count > 0
    assert first.values == second.values
    assert first.values["OC"].value_mm is not None


def beside(value: float | None, *readings_mm: float, flags: tuple[str, ...] = ()) -> ReadValue:
    return ReadValue(
        value, "" if value is not None else "cut_by_image", flags, None, 0.5, readings_mm
    )


def test_the_summary_names_what_is_far_off_and_unmarked() -> None:
    plane = Plane((0, 0, 0), (0, 0, 1), (1, 0, 0), (0, 1, 0))
    rows = {
        "a": beside(10.0, 9.0, 10.0),
        "b": beside(20.0, 12.0, 13.0),
        "c": beside(20.0, 12.0, 11.0, flags=("at_bifurcation",)),
        "d": beside(None, 4.0, 5.0),
        "e": beside(4.0, 4.5, 5.5, flags=("grade_borderline",)),
    }
    found = [
        VolumeComparison(
            readings.VolumeReadings(n, plane, ()), None, None, "", {"OC": v}, {}, {}, None, ()
        )  # type: ignore[arg-type, dict-item]
        for n, v in rows.items()
    ]
    got = reading_comparison.summarise(found, "OC")
    assert (got.given, got.volumes, got.marked) == (4, 5, 1)
    assert (got.far, got.unmarked) == (("b", "c"), ("b",))
    assert (got.median_mm, got.largest_mm, got.between_mm) == (4.25, 8.5, 1.0)


def test_the_rim_of_a_body_does_not_count(folder: Path) -> None:
    """A body drawn 1 mm larger all round is the same one; one that is 3 mm larger is not."""
    from dicomseg.segmentation import EngineInfo, Labels, Level, Scores, Segmentation
    from dicomseg.volume import Volume

    index = np.stack(np.indices((50, 50, 50)), axis=-1) - 24.5
    radius = np.linalg.norm(index, axis=-1)
    truth = Volume(np.where(radius < 15, 2, 0).astype(np.uint8), np.eye(4))

    def drawn(r: float) -> float:
        labels = Volume((radius < r).astype(np.uint8), np.eye(4))
        found = Segmentation(
            Level((0, 0, 0), (0, 0, 1), 1.0),
            Labels(labels, np.ones(labels.shape, bool)),
            labels,
            Scores(np.zeros((9, 1, 1, 1), np.float32), np.eye(4)),
            EngineInfo("", "", "", "", ""),
        )
        return reading_comparison.bodies_dice(found, truth)["l4"]

    assert drawn(16.0) == 1.0
    shell, core = 18.0**3 - 16.5**3, 13.5**3
    assert drawn(18.0) == pytest.approx(2 * core / (2 * core + shell), abs=0.02)


def test_polygons_of_the_raster_are_filled() -> None:
    mask = reading_comparison._mask([Polygon(circle(3.0, -20.0, 10.0))])
    assert mask.sum() * reading_comparison.RASTER.step_mm**2 == pytest.approx(np.pi * 100, rel=0.01)


def every_second(folder: Path, sample: Path) -> Path:
    """Make a folder of every second volume, by name, with its readings."""
    sample.mkdir()
    content = json.loads((folder / readings.READINGS).read_text(encoding="utf-8"))
    names = sorted(content["cases"])[1::2]
    content["cases"] = {name: content["cases"][name] for name in names}
    (sample / readings.READINGS).write_text(json.dumps(content), encoding="utf-8")
    for name in names:
        for kind in ("image", "labels"):
            (sample / f"{name}.{kind}.nii.gz").symlink_to(folder / f"{name}.{kind}.nii.gz")
    return sample


@pytest.mark.shared
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_real_volumes_give_their_values_or_say_what_is_doubtful(
    shared: Path, tmp_path: Path
) -> None:
    """Each value in all patients but one, no further off than before, none far off without a word."""
    folder = shared / "data" / "real_t2"
    if not folder.is_dir():
        pytest.skip("needs the volumes with readings in shared/data/real_t2")
    if os.environ.get("VOLUMES") != "all":
        folder = every_second(folder, tmp_path / "volumes")
    model = load_bundle(default_path())
    found = reading_comparison.compare_all(folder, cached(model, tmp_path / "answers"))
    assert len(found) >= 5
    most = {"OC": 1.3, "DAA": 1.0, "DIVC": 1.8, "PI": 1.3}
    for name, median_mm in most.items():
        got = reading_comparison.summarise(found, name)  # type: ignore[arg-type]
        assert got.given >= len(found) - 1, name
        assert got.unmarked == (), name
        assert got.median_mm is not None
        assert got.median_mm <= median_mm, name
    assert [
        c.readings.name for c in found if "orientation" in c.why or c.segmentation is None
    ] == []
    codes = {f.code for c in found for f in c.warnings}
    assert "vessel_side_uncertain" not in codes
