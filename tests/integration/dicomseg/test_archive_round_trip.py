"""Through a real Orthanc and back: what was encoded of any series is what a client fetches, to the last bit."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicomweb_client.api import DICOMwebClient
from pydicom.dataset import Dataset

from dicomseg.draw.solid_files import stl_bytes
from dicomseg.draw.surface import build_surfaces
from dicomseg.encode import measurements_sr, midplane_image, seg, stl, volumes_sr
from dicomseg.encode.context import EncodeInput, to_bytes
from dicomseg.encode.result_json import to_json
from dicomseg.encode.uids import ResultKey
from node.deliver.dicom import Pacs
from node.deliver.dicomweb import DicomwebServer
from node.deliver.port import Destination
from node.demo import servers
from node.free_ports import free_ports
from tests.support.compare_results import Report, compare_datasets
from tests.support.exactness import differences_by_check, label_differences, surface_differences
from tests.support.parcels import files_of
from tests.support.random_series import Balls, Geometry, Series, encode_input, large_enough
from tests.support.seg_inputs import FORMS

pytestmark = [
    pytest.mark.servers,
    pytest.mark.skipif(servers.find_orthanc() is None, reason="needs Orthanc with DICOMweb"),
    pytest.mark.filterwarnings("ignore:The number of bytes of compressed pixel data"),
]


@dataclass(frozen=True)
class Archive:
    """Both ways into an Orthanc, and the way out."""

    ways_in: dict[str, Destination]
    client: DICOMwebClient

    def fetch(self, ds: Dataset) -> Dataset:
        """The object by WADO-RS, in the transfer syntax that it is stored in."""
        return self.client.retrieve_instance(
            ds.StudyInstanceUID,
            ds.SeriesInstanceUID,
            ds.SOPInstanceUID,
            media_types=(("application/dicom", "*"),),
        )


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    ports = servers.Ports(*free_ports(4))
    running = servers.start_orthanc(tmp_path_factory.mktemp("orthanc"), ports)
    url = f"{ports.pacs_url}/dicom-web"
    try:
        yield Archive(
            {
                "C-STORE": Pacs(
                    "pacs", servers.PACS_AET, "127.0.0.1", ports.pacs_dicom, servers.NODE_AET, 20.0
                ),
                "STOW-RS": DicomwebServer("web", url, 20.0),
            },
            DICOMwebClient(url),
        )
    finally:
        servers.stop(running)


def random_geometry(seed: int) -> Geometry:
    """Any geometry: orientation, tilt, spacing, origin, odd and even matrices."""
    rng = np.random.default_rng([seed, 77])
    spacing = tuple(rng.uniform(0.4, 4.0, 3).round(3).tolist())
    slices = max(12, int(10 / spacing[0]) + 1)
    return Geometry(
        int(rng.integers(24)),
        float(rng.uniform(0, 30)),
        tuple(rng.normal(size=3).tolist()),
        spacing,
        tuple(rng.uniform(-300, 300, 3).tolist()),
        (slices, *rng.integers(8, 20, 2).tolist()),
        seed=seed,
        multi_frame=bool(rng.integers(2)),
    )


def encoded(series: Series, key: ResultKey, form: str, folder: Path) -> dict[str, bytes]:
    """The objects of a result with its segmentation in a form, and `result.json`."""
    (folder / "in").mkdir()
    inputs: EncodeInput = encode_input(series, folder / "in", key)
    sets = {
        "seg.dcm": seg.encode(inputs, FORMS[form]),
        "midplane.dcm": midplane_image.encode(inputs),
    }
    sets["measurements.dcm"] = measurements_sr.encode(inputs, sets)
    sets["volumes.dcm"] = volumes_sr.encode(inputs, sets)
    meshes = build_surfaces(inputs.segmentation.sides)
    if meshes:
        sets["surface.dcm"] = stl.encode(inputs, stl_bytes(list(meshes.values())))
    files = {name: to_bytes(ds) for name, ds in sets.items()}
    return files | {"result.json": json.dumps(to_json(inputs.result)).encode()}


def sent_and_fetched(
    archive: Archive, way: str, files: dict[str, bytes], folder: Path
) -> dict[str, bytes]:
    """Send the objects, prove that they are stored, fetch each; nothing in it may have changed."""
    names = tuple(name for name in files if name.endswith(".dcm"))
    for name in names:
        (folder / name).write_bytes(files[name])
    parcels = files_of(folder, names)
    outcomes = archive.ways_in[way].send(parcels)
    assert [(o.file, o.disposition) for o in outcomes] == [(n, "accepted") for n in names]
    assert archive.ways_in[way].verify_stored(parcels).value == "stored"
    back = dict(files)
    for name in names:
        before = pydicom.dcmread(BytesIO(files[name]))
        after = archive.fetch(before)
        report = Report()
        compare_datasets(before, after, name, report)
        assert report.lines == [], (way, name)
        assert report.compared["bytes"] > 0 or name in {"measurements.dcm", "volumes.dcm"}
        assert after.file_meta.TransferSyntaxUID == before.file_meta.TransferSyntaxUID, name
        out = BytesIO()
        after.save_as(out, enforce_file_format=True)
        back[name] = out.getvalue()
    return back


@pytest.mark.slow
@pytest.mark.parametrize("number", range(12))
def test_any_result_comes_back_as_it_was(archive: Archive, number: int, tmp_path: Path) -> None:
    form = list(FORMS)[number % len(FORMS)]
    ways = ["STOW-RS"] if form.startswith("labelmap") else list(archive.ways_in)
    series = Series(random_geometry(number))
    for n, way in enumerate(ways):
        folder = tmp_path / way
        folder.mkdir()
        files = encoded(series, ResultKey(f"{2 * number + n:032x}"), form, folder)
        back = sent_and_fetched(archive, way, files, folder)
        assert {k: v for k, v in differences_by_check(back, series).items() if v} == {}, way


def test_an_archive_that_does_not_know_label_maps_refuses_them(
    archive: Archive, tmp_path: Path
) -> None:
    """As Orthanc does by default; the segmentation's default form never is one."""
    series = Series(random_geometry(99))
    files = encoded(series, ResultKey("9" * 32), "labelmap", tmp_path)
    (tmp_path / "seg.dcm").write_bytes(files["seg.dcm"])
    (outcome,) = archive.ways_in["C-STORE"].send(files_of(tmp_path, ("seg.dcm",)))
    assert outcome.disposition == "permanent"
    assert label_differences(files["seg.dcm"], series) == []


@pytest.mark.slow
def test_surfaces_come_back_in_place(archive: Archive, tmp_path: Path) -> None:
    geometry = replace(random_geometry(7), spacing_mm=(2.0, 1.5, 1.8), multi_frame=False)
    series = Balls(large_enough(geometry))
    files = encoded(series, ResultKey("7" * 32), "fractional, RLE", tmp_path)
    back = sent_and_fetched(archive, "C-STORE", files, tmp_path)
    ds = pydicom.dcmread(BytesIO(back["surface.dcm"]))
    document = ds.EncapsulatedDocument[: ds.EncapsulatedDocumentLength]
    inner = np.concatenate([series.points_within(n, 0.6, 4) for n in range(1, 11)])
    outer = np.concatenate([series.points_around(n, 2.5, 4) for n in range(1, 11)])
    assert surface_differences(document, inner, outer, series.middle_of()) == []
