"""The whole way with known truth: scanner → Orthanc → node → Orthanc, compared in patient space."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from dicomseg.encode.uids import Identity
from dicomseg.read import header as headers
from dicomseg.read import pixels, series
from dicomseg.read.instance import Instance
from dicomseg.volume import Volume
from model import segment
from model.bundle.load import load_bundle
from node.demo import servers
from node.work import pipeline

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(600)]


def _height_mm(instance: Instance, point: np.ndarray) -> float:
    assert instance.position_lps is not None
    assert instance.row_lps is not None
    assert instance.column_lps is not None
    normal = np.cross(instance.row_lps, instance.column_lps)
    return float((np.array(instance.position_lps) - point) @ normal)


@pytest.fixture(scope="module")
def result_of(coded: Any, oracle_bundle: Path) -> Callable[[], dict[str, bytes]]:
    """Process the coded phantom in this process, as worker and `process` do."""
    instances = [headers.read_instance(f) for f in coded.files]
    centre = np.array(coded.told["plane"]["point_lps"])
    # The slices about the disc are enough, and take a third of the time.
    near = [i for i in instances if abs(_height_mm(i, centre)) < 28]
    grid = series.assemble(near)
    assert isinstance(grid, series.Grid)
    model = load_bundle(oracle_bundle)
    settings = pipeline.Settings(Identity("m", "n", "1", "1", ""))

    def run() -> dict[str, bytes]:
        processed = pipeline.process_series(
            grid, model, settings, lambda: datetime(2026, 1, 2, tzinfo=UTC)
        )
        assert isinstance(processed, pipeline.Processed)
        return processed.files

    return run


def test_results_fetched_back_from_the_pacs_are_the_truth(
    site: Callable[..., Any],
    coded: Any,
    oracle_bundle: Path,
    compare: Callable[..., list[str]],
    tmp_path: Path,
) -> None:
    here = site(bundle=oracle_bundle, with_pacs=True)
    here.send(coded.files)
    (row,) = here.wait(1)
    assert row.state == "delivered", row.reason
    found = here.found(row)
    assert compare(coded, found) == []
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


def _second_send_makes_no_second_result(here: Any, coded: Any) -> None:
    journal = here.journal
    (before,) = journal.series.in_states()
    here.send(coded.files, to_pacs=False)
    (after,) = journal.series.in_states()
    assert after.instances == before.instances == len(coded.files)
    assert after.state == "delivered"
    assert len(journal.results.of_series(after.key)) == 1


def test_in_process_results_are_the_truth(
    result_of: Callable[[], dict[str, bytes]],
    coded: Any,
    compare: Callable[..., list[str]],
    request: pytest.FixtureRequest,
) -> None:
    assert compare(coded, _found(request, result_of())) == []


def _found(request: pytest.FixtureRequest, files: dict[str, bytes]) -> Any:
    module = request.getfixturevalue("found_type")
    return module({n: b for n, b in files.items() if n.endswith(".dcm")})


def _mirrored(array: np.ndarray, axis: int) -> np.ndarray:
    return np.ascontiguousarray(np.flip(array, axis))


MUTATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "slices reversed": lambda a: _mirrored(a, 0),
    "rows mirrored": lambda a: _mirrored(a, 1),
    "columns mirrored": lambda a: _mirrored(a, 2),
    "shifted by one slice": lambda a: np.roll(a, 1, 0),
    "shifted by one column": lambda a: np.roll(a, 1, 2),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
@pytest.mark.parametrize("stage", ["pixels", "labels"])
def test_a_mutated_path_is_noticed(
    stage: str,
    mutation: str,
    result_of: Callable[[], dict[str, bytes]],
    coded: Any,
    compare: Callable[..., list[str]],
    monkeypatch: pytest.MonkeyPatch,
    request: pytest.FixtureRequest,
) -> None:
    change = MUTATIONS[mutation]
    if stage == "pixels":
        load = pixels.read_source

        def changed_load(grid: Any) -> Any:
            source = load(grid)
            return pixels.Source(
                source.grid, source.datasets, source.volume.with_array(change(source.volume.array))
            )

        monkeypatch.setattr(pipeline, "read_source", changed_load)
    else:
        split = segment.postprocess.split_sides

        def changed_split(labels: Volume) -> Volume:
            sides = split(labels)
            return sides.with_array(change(sides.array))

        monkeypatch.setattr(segment.postprocess, "split_sides", changed_split)
    try:
        files = result_of()
    except Exception:  # noqa: BLE001 - a path that breaks has noticed, too
        return
    assert compare(coded, _found(request, files)) != []
