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
from pynetdicom import AE, _config

from dicomseg.read import header as headers
from dicomseg.read import series
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
        result = json.loads(
            (here.journal.results.of_series(row.key)[-1].folder / "result.json").read_text(
                encoding="utf-8"
            )
        )
        centres.append(result["level"]["centre_mm"])
        assert result["structures"]["pm"]["outside_view"]
        assert result["measurements"]["OC"]["value_mm"] is None
        assert result["measurements"]["OC"]["refusal"]["code"] in {
            "outside_image",
            "plane_undetermined",
        }
    # The same pixels in two orientations: the same disc in the patient.
    assert np.abs(np.array(centres[0]) - centres[1]).max() < 4.0


REASONS = {
    "ge-epi-axial": "MR Acquisition Type 2D",
    "pydicom-emri-small": "Scanning Sequence GR is not a pure spin echo",
    "pydicom-mr-siemens-dicom-withoverlays": "derived, not acquired",
    "pydicom-mr2-j2ki": "MR Acquisition Type 2D",
    "siemens-aa-scout-phantom": "body part HEAD",
    "siemens-epi-jpeg": "Scanning Sequence EP is not a pure spin echo",
    "siemens-epi-jpeg2000": "Scanning Sequence EP is not a pure spin echo",
    "siemens-epi-sag-mosaic": "body part BRAIN",
    "siemens-gre-field-map-sag": "TE 2.46 ms is below 60 ms",
    "siemens-localizer": "TE 1.37 ms is below 60 ms",
    "siemens-phoenix-report": "not an MR image",
    "siemens-scout-mpr-cor": "derived, not acquired",
    "siemens-t1-fl2d-sag-decubitus": "MR Acquisition Type 2D",
    "siemens-xa30-enhanced-dwi": "EP+GR is not a pure spin echo",
}
"""Folder of `shared/data/dicom` → what must stand in the reason why its series has no result."""

SAME_OBJECT = "pydicom-emri-small-"
"""The same pixels and UID in other transfer syntaxes, each under another patient: corrections."""

WITHOUT_UIDS = "siemens-ct-empty-uids"


def _send_as_it_is(site: Any, file: Path) -> int:
    """One C-STORE of a file's own bytes in their own transfer syntax; the status, -1 without one.

    In chunks, since a sender that does so reads nothing but the file meta.
    """
    meta = pydicom.filereader.read_file_meta_info(file)
    entity = AE("SCANNER")
    entity.add_requested_context(meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID)
    association = entity.associate("127.0.0.1", site.ports.node, ae_title=servers.NODE_AET)
    assert association.is_established
    try:
        return int(association.send_c_store(file).get("Status", -1))
    finally:
        association.release()


def test_every_real_series_is_received_and_skipped_with_its_reason(
    site: Callable[..., Any], shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_config, "STORE_SEND_CHUNKED_DATASET", True)
    here = site()
    folders = {p.name: sorted(p.glob("*.dcm")) for p in (shared / "data/dicom").iterdir()}
    empty = folders.pop(WITHOUT_UIDS)
    expected: dict[str, str] = {}
    for name in sorted(n for n in folders if folders[n]):
        for file in folders[name]:
            assert _send_as_it_is(here, file) == 0, file
        series_uid = headers.read_instance(folders[name][0]).series_uid
        if not name.startswith(SAME_OBJECT):
            expected[series_uid] = REASONS[name]
    for file in empty:
        assert _send_as_it_is(here, file) != -1  # kept aside or refused, but answered
    ended = here.wait(len(expected) + 1, seconds=90)
    rows = {r.key.series: r for r in ended if r.state != "quarantined"}
    assert set(rows) == set(expected)
    assert len(ended) == len(rows) + 1  # a row for what came without UIDs, for a person to see
    for series_uid, words in expected.items():
        assert rows[series_uid].state == "skipped", rows[series_uid].reason
        assert words in rows[series_uid].reason
    kept = sum(p.is_file() for p in (here.folder / "state/quarantine").rglob("*"))
    assert kept == len(empty)
    corrected = sum(name.startswith(SAME_OBJECT) for name in folders)
    assert here.journal.counts()["instance.superseded"] == corrected > 0
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
    grid = series.assemble([headers.read_instance(f) for f in files])
    assert isinstance(grid, series.Grid)
    assert _process(config, tmp_path / "out", tmp_path / "tse").returncode == 3
    done = _process(config, tmp_path / "out", tmp_path / "tse", "--any-sequence")
    assert done.returncode == 0, done.stdout + done.stderr
    (file,) = (tmp_path / "out").glob("*/result.json")
    centre = json.loads(file.read_text(encoding="utf-8"))["level"]["centre_mm"]
    # Between the labelled bodies L5 (z −43) and L4 (z −4) of this volunteer.
    assert abs(centre[2] + 24) < 8
