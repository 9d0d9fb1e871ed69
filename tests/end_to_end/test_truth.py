"""The complete path with known truth: scanner → Orthanc → node → Orthanc, compared in patient space."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from dicomseg.encode.uids import Identity
from dicomseg.errors import LumbarError
from dicomseg.read import header as headers
from dicomseg.read import pixels, series
from dicomseg.read.instance import Instance
from dicomseg.segmentation import Segmentation
from dicomseg.volume import Volume
from model.bundle.load import load_bundle
from model.segment import segment
from node.demo import servers
from node.work import pipeline
from tests.support.phantoms import Truth
from tests.support.truth import Found, differences

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(600)]


Change = Callable[[np.ndarray], np.ndarray]


def _height_mm(instance: Instance, point: np.ndarray) -> float:
    assert instance.position_lps is not None
    assert instance.row_lps is not None
    assert instance.column_lps is not None
    normal = np.cross(instance.row_lps, instance.column_lps)
    return float((np.array(instance.position_lps) - point) @ normal)


@pytest.fixture(scope="module")
def process(coded: Truth, oracle_bundle: Path) -> Callable[[], pipeline.Processed]:
    """Process the coded phantom in this process, as worker and `process` do."""
    instances = [headers.read_instance(f) for f in coded.files]
    # The slices about the disc are enough, and take a third of the time.
    near = [i for i in instances if abs(_height_mm(i, coded.centre_lps)) < 28]
    grid = series.assemble(near)
    assert isinstance(grid, series.Grid)
    model = load_bundle(oracle_bundle)
    settings = pipeline.Settings(Identity("m", "n", "1", "1", ""))

    def run() -> pipeline.Processed:
        processed = pipeline.process_series(
            grid, model, settings, lambda: datetime(2026, 1, 2, tzinfo=UTC)
        )
        assert isinstance(processed, pipeline.Processed)
        return processed

    return run


@pytest.fixture(scope="module")
def undisturbed(
    process: Callable[[], pipeline.Processed],
) -> tuple[pipeline.Processed, Segmentation]:
    """The result of the phantom, and the segmentation that it was measured on."""
    segmented: list[Segmentation] = []

    def keep(*arguments: Any) -> Segmentation:
        found = segment(*arguments)
        assert isinstance(found, Segmentation)
        segmented.append(found)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline, "segment", keep)
        processed = process()
    return processed, segmented[0]


def test_results_fetched_back_from_the_pacs_are_the_truth(
    site: Callable[..., Any],
    coded: Truth,
    oracle_bundle: Path,
    tmp_path: Path,
) -> None:
    here = site(bundle=oracle_bundle, with_pacs=True)
    here.send(coded.files)
    (row,) = here.wait(1)
    assert row.state == "delivered", row.reason
    found = here.found(row)
    assert differences(coded, found) == []
    for name, content in found.files.items():
        path = tmp_path / name
        path.write_bytes(content)
        checked = subprocess.run(
            ["dciodvfy", str(path)], capture_output=True, text=True, check=False, timeout=120
        )
        errors = [
            line
            for line in (checked.stdout + checked.stderr).splitlines()
            if line.startswith("Error")
        ]
        assert errors == [], name
        if name in {"measurements.dcm", "volumes.dcm"}:
            dumped = subprocess.run(
                ["dsrdump", str(path)], capture_output=True, text=True, check=False, timeout=60
            )
            assert dumped.returncode == 0
            assert "Preliminary" in dumped.stdout
    _dcmqi_agrees(tmp_path / "seg.dcm", tmp_path, coded.labels)
    _second_send_makes_no_second_result(here, coded)


def _dcmqi_agrees(seg: Path, out: Path, truth: Volume) -> None:
    """dcmqi reads the same labels at the same places."""
    sitk = pytest.importorskip("SimpleITK")
    done = subprocess.run(
        [
            servers.command("segimage2itkimage"),
            "--inputDICOM",
            str(seg),
            "--outputDirectory",
            str(out),
            "--outputType",
            "nrrd",
            "--mergeSegments",
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = out.glob("*.nrrd")
    image = sitk.ReadImage(str(file))
    affine = np.eye(4)
    affine[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine[:3, 3] = image.GetOrigin()
    read = Volume(sitk.GetArrayFromImage(image).transpose(2, 1, 0), affine)
    disc = read.to_patient(np.argwhere(read.array == 2))
    # A voxel on its own, where a thin part is sampled obliquely, is no part of the disc.
    parts, _ = ndimage.label(truth.array == 2, structure=np.ones((3, 3, 3)))
    true = truth.to_patient(np.argwhere(parts == np.bincount(parts.ravel())[1:].argmax() + 1))
    assert (truth.array == 2).sum() - len(true) <= 2
    assert len(disc) == len(true)
    assert np.abs(np.sort(disc, axis=0) - np.sort(true, axis=0)).max() < 1e-3


def _second_send_makes_no_second_result(here: Any, coded: Truth) -> None:
    journal = here.journal
    (before,) = journal.series.in_states()
    here.send(coded.files, to_pacs=False)
    (after,) = journal.series.in_states()
    assert after.instances == before.instances == len(coded.files)
    assert after.state == "delivered"
    assert len(journal.results.of_series(after.key)) == 1


def test_in_process_results_are_the_truth(
    undisturbed: tuple[pipeline.Processed, Segmentation], coded: Truth
) -> None:
    assert differences(coded, _found(undisturbed[0])) == []


def _found(processed: pipeline.Processed) -> Found:
    return Found({n: b for n, b in processed.files.items() if n.endswith(".dcm")})


def _mirrored(array: np.ndarray, axis: int) -> np.ndarray:
    return np.ascontiguousarray(np.flip(array, axis))


MUTATIONS: dict[str, Change] = {
    "slices reversed": lambda a: _mirrored(a, 0),
    "rows mirrored": lambda a: _mirrored(a, 1),
    "columns mirrored": lambda a: _mirrored(a, 2),
    "shifted by one slice": lambda a: np.roll(a, 1, 0),
    "shifted by one column": lambda a: np.roll(a, 1, 2),
}
mutated = pytest.mark.parametrize("mutation", MUTATIONS)


def _is_noticed(process: Callable[[], pipeline.Processed], coded: Truth) -> bool:
    try:
        processed = process()
    except LumbarError as refusal:  # a path that refuses has noticed, too
        return bool(str(refusal))
    return differences(coded, _found(processed)) != []


@mutated
def test_mutated_pixels_are_noticed(
    mutation: str,
    process: Callable[[], pipeline.Processed],
    coded: Truth,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    read = pipeline.read_source

    def changed(grid: series.Grid) -> pixels.Source:
        source = read(grid)
        volume = source.volume.with_array(MUTATIONS[mutation](source.volume.array))
        return replace(source, volume=volume)

    monkeypatch.setattr(pipeline, "read_source", changed)
    assert _is_noticed(process, coded)


@mutated
def test_mutated_labels_are_noticed(
    mutation: str,
    process: Callable[[], pipeline.Processed],
    undisturbed: tuple[pipeline.Processed, Segmentation],
    coded: Truth,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    found = undisturbed[1]
    sides = found.sides.with_array(MUTATIONS[mutation](found.sides.array))
    monkeypatch.setattr(pipeline, "segment", lambda *_: replace(found, sides=sides))
    assert _is_noticed(process, coded)
