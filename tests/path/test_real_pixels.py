"""Real T2 SPACE pixels, real series of other kinds, and what becomes of them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest

from dicomseg import headers, series
from dicomseg.errors import Unreadable
from node.demo import servers

pytestmark = [pytest.mark.shared, pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(600)]


def _process(config: Path, out: Path, *paths: Path | str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            servers.command("lumbar-node"),
            "process",
            *map(str, paths),
            "--out",
            str(out),
            "--config",
            str(config),
        ],
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )


@pytest.fixture
def config(tmp_path: Path) -> Path:
    file = tmp_path / "config.toml"
    file.write_text(
        f'[node]\nae_title = "NODE"\nstate = "{tmp_path / "state"}"\n', encoding="utf-8"
    )
    return file


def test_sagittal_and_axial_real_series_go_the_whole_way(
    site: Callable[..., Any], wrap: Callable[..., list[Path]], tmp_path: Path
) -> None:
    here = site(with_pacs=True)
    sagittal = wrap("spider/110.image.nii.gz", tmp_path / "sag")
    axial = wrap("spider/110.image.nii.gz", tmp_path / "ax", "--axial", "--subject", "110ax")
    here.send(sagittal)
    here.send(axial)
    rows = here.wait(2)
    assert [r.state for r in rows] == ["delivered", "delivered"], [r.reason for r in rows]
    centres = []
    for row, files in zip(rows, (sagittal, axial), strict=True):
        found = here.found(row)
        seg, first = found.sets["seg.dcm"], pydicom.dcmread(files[0], stop_before_pixels=True)
        assert seg.FrameOfReferenceUID == first.FrameOfReferenceUID
        assert (seg.Rows, seg.Columns) == (first.Rows, first.Columns)
        for name, content in found.files.items():
            file = tmp_path / name
            file.write_bytes(content)
            done = subprocess.run(
                ["dciodvfy", str(file)], capture_output=True, text=True, check=False, timeout=120
            )
            lines = (done.stdout + done.stderr).splitlines()
            assert [line for line in lines if line.startswith("Error")] == [], name
        told = json.loads(
            (here.journal.results_of(row.key)[-1].folder / "result.json").read_text(
                encoding="utf-8"
            )
        )
        centres.append(told["level"]["centre_mm"])
        assert told["structures"]["pm"]["outside_view"]
        assert told["measurements"]["OC"]["value_mm"] is None
        assert told["measurements"]["OC"]["refusal"]["code"] in {
            "outside_image",
            "plane_undetermined",
        }
    # The same pixels in two orientations: the same disc in the patient.
    assert np.abs(np.array(centres[0]) - centres[1]).max() < 4.0


def test_every_real_series_is_received_and_skipped_with_its_reason(
    site: Callable[..., Any], shared: Path
) -> None:
    here = site()
    folder = shared / "data" / "dicom"
    sent, unreadable = 0, 0
    for file in sorted(p for p in folder.rglob("*") if p.is_file() and p.suffix != ".jsonl"):
        try:
            headers.read(file)
        except Unreadable:
            unreadable += 1
        done = here.send(
            ["-xv", file] if "2k" in str(file) or "j2k" in str(file) else [file], check=False
        )
        sent += done.returncode == 0
    assert sent > 20
    assert unreadable < sent
    rows = here.wait(1, seconds=60)
    assert all(r.state in {"skipped", "incomplete"} for r in rows)
    assert all(r.reason for r in rows)
    assert not any("error" in r.reason.lower() for r in rows)
    assert here.running[0].alive


def test_a_cervical_volume_is_not_in_view(
    wrap: Callable[..., list[Path]], tmp_path: Path, config: Path
) -> None:
    wrap("other/t2_cervical.nii.gz", tmp_path / "cervical")
    done = _process(config, tmp_path / "out", tmp_path / "cervical")
    assert done.returncode == 3, done.stdout + done.stderr
    assert "L4/5 not in the field of view" in " ".join((done.stdout + done.stderr).split())


def test_a_2d_tse_is_skipped_by_rule_and_processed_by_hand(
    wrap: Callable[..., list[Path]], tmp_path: Path, config: Path
) -> None:
    files = wrap(
        "other/t2_lumbar.nii.gz", tmp_path / "tse", "--kind", "t2_tse", "--subject", "t2lumbar"
    )
    grid = series.assemble([headers.read(f) for f in files])
    assert isinstance(grid, series.Grid)
    assert _process(config, tmp_path / "out", tmp_path / "tse").returncode == 3
    done = _process(config, tmp_path / "out", tmp_path / "tse", "--any-sequence")
    assert done.returncode == 0, done.stdout + done.stderr
    (told,) = (tmp_path / "out").glob("*/result.json")
    centre = json.loads(told.read_text(encoding="utf-8"))["level"]["centre_mm"]
    # Between the labelled bodies L5 (z −43) and L4 (z −4) of this volunteer.
    assert abs(centre[2] + 24) < 8
