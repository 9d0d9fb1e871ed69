"""Profiles against servers of other people: Orthanc by C-STORE and DICOMweb, DCMTK's storescp."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from pydicom import dcmread

from node.config.destinations import DestinationConfig, DicomDestination, DicomwebDestination
from node.config.profiles import PROFILES
from node.deliver.factory import build
from node.deliver.forms import base_name, prepare, sent_names
from node.deliver.offers import offers_for, syntax_title
from node.deliver.port import Outcome, ResultFile
from node.demo import servers
from node.demo.pacs import Pacs
from node.free_ports import free_ports
from tests.support.seg_inputs import voxels_of
from tests.support.sent_results import write_small_result

pytestmark = [pytest.mark.servers, pytest.mark.slow]

EVEN, ODD = (24, 40), (23, 41)


@dataclass(frozen=True)
class Archive:
    """An Orthanc, and destinations that lead to it."""

    ports: servers.Ports

    def destination(self, kind: str, **keys: Any) -> DestinationConfig:
        if kind == "dicom":
            return DicomDestination(
                name="pacs", kind="dicom", ae_title="ORTHANC", host="127.0.0.1",
                port=self.ports.pacs_dicom, **keys,
            )  # fmt: skip
        return DicomwebDestination(
            name="web", kind="dicomweb", url=f"{self.ports.pacs_url}/dicom-web", **keys
        )

    def clear(self) -> None:
        """Forget everything: the results of all tests have the same UIDs."""
        with httpx.Client(base_url=self.ports.pacs_url) as client:
            for study in client.get("/studies").json():
                client.delete(f"/studies/{study}").raise_for_status()

    def bytes_of(self, uid: str) -> bytes:
        client = Pacs(self.ports.pacs_url)
        try:
            return client.bytes_of(uid)
        finally:
            client.close()


def _start(folder: Path, **settings: Any) -> Iterator[Archive]:
    found = servers.find_orthanc()
    if found is None:
        pytest.skip("needs Orthanc and its DICOMweb plugin (apt install orthanc-dicomweb)")
    program, plugin = found
    ports = servers.Ports(*free_ports(4))
    (folder / "db").mkdir(parents=True)
    file = folder / "orthanc.json"
    file.write_text(json.dumps(servers.orthanc_settings(folder, ports, plugin) | settings))
    running = servers.start(
        "Orthanc", [program, str(file)], folder / "orthanc.log",
        lambda: servers.answers(f"{ports.pacs_url}/system") and servers.listens(ports.pacs_dicom),
        env=servers.dcmtk_environment(),
    )  # fmt: skip
    try:
        yield Archive(ports)
    finally:
        servers.stop(running)


@pytest.fixture(scope="module")
def orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    yield from _start(tmp_path_factory.mktemp("orthanc"))


@pytest.fixture(scope="module")
def lenient_orthanc(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Archive]:
    yield from _start(tmp_path_factory.mktemp("lenient"), UnknownSopClassAccepted=True)


def _send(
    config: DestinationConfig, folder: Path, outgoing: Path
) -> tuple[tuple[ResultFile, ...], tuple[Outcome, ...], str]:
    sends = config.sends
    files = prepare(folder, sent_names(folder, sends), outgoing, compress=sends.compress == "rle")
    destination = build(config, servers.NODE_AET)
    outcomes = destination.send(files)
    arrived = [f for f, o in zip(files, outcomes, strict=True) if o.disposition == "accepted"]
    return files, outcomes, destination.verify_stored(arrived).value


def _said(config: DestinationConfig) -> dict[str, tuple[str, str]]:
    answer = build(config, servers.NODE_AET).echo(offers_for(config))
    return {
        o.offer.file: (o.value, syntax_title(o.syntax) if o.syntax else "") for o in answer.objects
    }


def test_orthanc_says_beforehand_what_it_takes(orthanc: Archive) -> None:
    every = _said(orthanc.destination("dicom", withdraw=True))
    assert set(every) == {*PROFILES["dicom-viewer"].objects, "rejection.dcm"}
    assert set(every.values()) == {("accepted", "explicit")}
    weasis = _said(orthanc.destination("dicom", profile="weasis"))
    assert weasis.pop("seg.dcm") == ("refused", "")
    assert {f for f, said in weasis.items() if said == ("accepted", "RLE")} == {
        "midplane.dcm",
        "summary.dcm",
    }
    web = _said(orthanc.destination("dicomweb", profile="weasis"))
    assert set(web.values()) == {("unknown", "")}


def test_an_orthanc_that_takes_unknown_classes_takes_label_maps(
    lenient_orthanc: Archive, studio: Any, tmp_path: Path
) -> None:
    config = lenient_orthanc.destination("dicom", profile="weasis")
    assert _said(config)["seg.dcm"] == ("accepted", "RLE")
    folder, inputs = write_small_result(studio, tmp_path / "r")
    files, outcomes, proof = _send(config, folder, tmp_path / "out")
    assert {o.disposition for o in outcomes} == {"accepted"}
    assert proof == "stored"
    ds = dcmread(BytesIO(lenient_orthanc.bytes_of(files[0].sop_instance)))
    sides = inputs.segmentation.sides
    assert np.array_equal(voxels_of(ds, sides), sides.array)


def test_a_refused_label_map_keeps_nothing_else_back(
    orthanc: Archive, studio: Any, tmp_path: Path
) -> None:
    orthanc.clear()
    folder, _ = write_small_result(studio, tmp_path / "r")
    config = orthanc.destination("dicom", profile="weasis")
    _, outcomes, proof = _send(config, folder, tmp_path / "out")
    (refused,) = [o for o in outcomes if o.disposition != "accepted"]
    assert (refused.file, refused.disposition) == ("seg.labelmap.dcm", "permanent")
    assert "UnknownSopClassAccepted" in refused.text
    assert 'set seg_form = "default"' in refused.text
    assert proof == "stored"


CASES: tuple[tuple[Any, Any, str], ...] = (
    (EVEN, {}, "explicit"),
    (EVEN, {"compress": "rle"}, "explicit"),
    (ODD, {}, "explicit"),
    (ODD, {"compress": "rle"}, "RLE"),
    (EVEN, {"seg_form": "fractional", "compress": "rle"}, "RLE"),
    (ODD, {"seg_form": "binary"}, "explicit"),
    (EVEN, {"profile": "weasis"}, "RLE"),
    (ODD, {"profile": "weasis", "compress": "none"}, "explicit"),
)
"""Matrix, keys of the destination, and the transfer syntax in which the segmentation is kept."""


@pytest.mark.parametrize(
    ("kind", "matrix", "keys", "syntax"),
    [
        (kind, *case)
        for kind in ("dicom", "dicomweb")
        for case in CASES
        if kind == "dicomweb" or "profile" not in case[1]  # label maps: refused, see above
    ],
    ids=str,
)
def test_voxels_come_back_from_orthanc_as_they_were_segmented(
    orthanc: Archive, studio: Any, tmp_path: Path, kind: str, matrix: Any, keys: Any, syntax: str
) -> None:
    orthanc.clear()
    folder, inputs = write_small_result(studio, tmp_path / "r", rows=matrix[0], columns=matrix[1])
    config = orthanc.destination(kind, **keys)
    files, outcomes, proof = _send(config, folder, tmp_path / "out")
    assert {o.disposition for o in outcomes} == {"accepted"}
    assert proof == "stored"
    by_name = {base_name(f.name): f for f in files}
    content = orthanc.bytes_of(by_name["seg.dcm"].sop_instance)
    ds = dcmread(BytesIO(content))
    assert syntax_title(str(ds.file_meta.TransferSyntaxUID)) == syntax
    sides = inputs.segmentation.sides
    assert np.array_equal(voxels_of(ds, sides), sides.array)
    report = orthanc.bytes_of(by_name["volumes.dcm"].sop_instance)
    assert by_name["seg.dcm"].sop_instance.encode() in report
    plane = dcmread(BytesIO(orthanc.bytes_of(by_name["midplane.dcm"].sop_instance)))
    assert np.array_equal(plane.pixel_array, dcmread(folder / "midplane.dcm").pixel_array)


def test_storescp_gets_plain_copies_and_no_label_map(studio: Any, tmp_path: Path) -> None:
    program = shutil.which("storescp", path="/usr/bin:/usr/local/bin")  # pynetdicom has one, too
    if program is None:
        pytest.skip("needs DCMTK (apt install dcmtk)")
    (port,) = free_ports(1)
    (tmp_path / "got").mkdir()
    running = servers.start(
        "storescp", [program, "-od", str(tmp_path / "got"), "-aet", "SCP", str(port)],
        tmp_path / "storescp.log", lambda: servers.listens(port), env=servers.dcmtk_environment(),
    )  # fmt: skip
    try:
        config = DicomDestination(
            name="scp", kind="dicom", ae_title="SCP", host="127.0.0.1", port=port, profile="weasis"
        )
        said = _said(config)
        assert said.pop("seg.dcm") == ("refused", "")
        assert set(said.values()) == {("accepted", "explicit")}
        folder, _ = write_small_result(studio, tmp_path / "r")
        _, outcomes, proof = _send(config, folder, tmp_path / "out")
    finally:
        servers.stop(running)
    assert [o.file for o in outcomes if o.disposition != "accepted"] == ["seg.labelmap.dcm"]
    assert proof == "unsupported"
    assert len(list((tmp_path / "got").iterdir())) == len(outcomes) - 1
