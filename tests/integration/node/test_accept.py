"""The acceptance test through real archives: one that keeps what it is sent, and some that do not."""

from __future__ import annotations

import json
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from node.accept import run as acceptance
from node.accept.checks import Check, Outcome
from node.accept.command import run_test
from node.accept.record import Record
from node.cli.accept import Silent
from node.config.file import read_config
from node.demo import servers
from node.errors import PeerUnreachable
from node.free_ports import free_ports
from node.phantom import truth
from node.phantom.study import read_phantom
from tests.support.altering_pacs import altering_pacs
from tests.support.phantoms import Truth

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(900)]

Accept = Callable[..., tuple[Record, Path]]


@pytest.fixture
def accept(
    tmp_path: Path, oracle_bundle: Path, small_coded: Truth, monkeypatch: pytest.MonkeyPatch
) -> Accept:
    """Test a destination with a small phantom whose grey values encode the labels."""
    # The bundle that decodes labels states no uncertainty of a model, and voxels of 1.5 mm are coarse.
    monkeypatch.setattr(truth, "COVERAGE", 20.0)
    monkeypatch.setattr(acceptance, "make_phantom", lambda *_: read_phantom(small_coded.folder))

    def _accept(destination: str, *, validators: bool = False, **options: bool) -> tuple[Record, Path]:  # fmt: skip
        if not validators:
            monkeypatch.setattr(acceptance, "validator_checks", lambda *_: [])
        config = tmp_path / "config.toml"
        config.write_text(
            f'[node]\nae_title = "LUMBARNODE"\nstate = "{tmp_path / "state"}"\n'
            f'[model]\nbundle = "{oracle_bundle}"\n[results]\npictures = {str(validators).lower()}\n'
            f'[[node.destination]]\nname = "it"\n{destination}{"" if validators else FEW}'
        )
        return run_test(read_config(config), "it", Silent(), **options)

    return _accept


FEW = 'objects = ["seg.dcm", "measurements.dcm"]\n'


def dicom(port: int, title: str = "PACS") -> str:
    return f'kind = "dicom"\nae_title = "{title}"\nhost = "127.0.0.1"\nport = {port}\n'


def outcome(record: Record, group: str, beginning: str) -> Outcome:
    return found(record, group, beginning).outcome


def found(record: Record, group: str, beginning: str) -> Check:
    return next(c for c in record.checks if c.group == group and c.what.startswith(beginning))


IMAGES, RESULT, SIDES = acceptance.IMAGES, acceptance.RESULT, "Left and right"


@pytest.fixture
def orthanc(tmp_path: Path) -> Iterator[servers.Ports]:
    if servers.find_orthanc() is None:
        pytest.skip("needs Orthanc (apt install orthanc-dicomweb)")
    ports = servers.Ports(*free_ports(4))
    running = servers.start_orthanc(tmp_path / "orthanc", ports)
    try:
        yield ports
    finally:
        servers.stop(running)


def test_orthanc_gives_back_what_it_was_sent(accept: Accept, orthanc: servers.Ports) -> None:
    record, page = accept(
        dicom(orthanc.pacs_dicom, servers.PACS_AET), validators=True, withdraw=True
    )
    assert not [c for c in record.checks if c.outcome == "failed"]
    assert record.verdict == "passed"
    assert found(record, acceptance.BACK, "Gives").seen == "71 of 71 by C-GET"
    assert outcome(record, "Validators", "Our own") == "passed"
    assert outcome(record, acceptance.STORED, "Accepts the rejection note") == "passed"
    assert stat.S_IMODE(page.stat().st_mode) == 0o600
    assert stat.S_IMODE(page.parent.stat().st_mode) == 0o700
    assert not (page.parent / "work").exists()
    kept = json.loads((page.parent / "checks.json").read_text())
    assert len(kept["checks"]) == len(record.checks)
    assert "data:image/png;base64," in page.read_text()


def test_orthanc_gives_back_by_wado(accept: Accept, orthanc: servers.Ports) -> None:
    record, _ = accept(f'kind = "dicomweb"\nurl = "{orthanc.pacs_url}/dicom-web"\n')
    assert not [c for c in record.checks if c.outcome == "failed"]
    assert record.verdict == "passed"
    assert found(record, acceptance.BACK, "Gives").seen == "66 of 66 by WADO-RS"


def test_an_archive_that_mirrors_rounds_strips_and_coerces_fails_in_exactly_that(
    accept: Accept,
) -> None:
    def alter(ds: Dataset) -> None:
        ds.PatientName = "ACCEPTANCE^COERCED"
        ds.remove_private_tags()
        if "ImageType" in ds and ds.ImageType[0] == "ORIGINAL":
            ds.ImagePositionPatient = [round(float(v), 1) for v in ds.ImagePositionPatient]
            pixels = np.frombuffer(ds.PixelData, "<u2").reshape(ds.Rows, ds.Columns)
            ds.PixelData = pixels[:, ::-1].tobytes()

    with altering_pacs(alter) as port:
        record, page = accept(dicom(port))
    assert record.verdict == "failed"
    pixels = found(record, IMAGES, "Pixels")
    assert (pixels.outcome, "columns in reverse order" in pixels.seen) == ("failed", True)
    positions = found(record, IMAGES, "Elements")
    assert (positions.outcome, positions.seen.split()[0]) == ("failed", "ImagePositionPatient")
    assert outcome(record, SIDES, "Images") == "failed"
    assert outcome(record, IMAGES, "Coercion") == "noted"
    assert outcome(record, IMAGES, "Private") == "noted"
    # The result came back as it was: what is wrong with the images is not said of it.
    assert outcome(record, RESULT, "Pixels") == "passed"
    assert outcome(record, RESULT, "Elements") == "passed"
    assert outcome(record, SIDES, "Segments") == "passed"
    assert "FAILED" in page.read_text()


def test_an_archive_that_gives_nothing_back_proves_nothing(accept: Accept) -> None:
    with altering_pacs(lambda _: None, gives=False) as port:
        record, page = accept(dicom(port))
    back = found(record, acceptance.BACK, "Gives")
    assert (back.outcome, record.verdict) == ("not possible", "incomplete")
    assert "does not support C-GET" in back.seen
    assert "INCOMPLETE" in page.read_text()
    shutil.rmtree(page.parent)


def test_an_archive_that_is_away_leaves_no_folder(accept: Accept, tmp_path: Path) -> None:
    (port,) = free_ports(1)
    with pytest.raises(PeerUnreachable, match="does not respond"):
        accept(dicom(port))
    assert not (tmp_path / "state" / "acceptance").exists()
