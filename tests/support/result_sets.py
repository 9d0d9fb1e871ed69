"""A correct result of a small segmentation, which tests of `node.verify` damage."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from dicomseg.encode.uids import ResultKey
from dicomseg.structures import SEGMENTS
from node.verify.objects import ResultSet
from tests.support.encoded import changed, read
from tests.support.studio import Studio


def worklist(ds: Dataset) -> None:
    """What a hospital's worklist puts into a header, the scanner included."""
    other, request, issuer = Dataset(), Dataset(), Dataset()
    other.PatientID, other.IssuerOfPatientID, other.TypeOfPatientID = "999", "INS", "TEXT"
    request.RequestedProcedureID, request.AccessionNumber = "RP1", "A1"
    issuer.UniversalEntityID, issuer.UniversalEntityIDType = "1.2.3.4", "ISO"
    ds.PatientName, ds.PatientID, ds.IssuerOfPatientID = "Doe^Jane", "P-7", "HOSP"
    ds.IssuerOfPatientIDQualifiersSequence = [issuer]
    ds.OtherPatientIDsSequence, ds.RequestAttributesSequence = [other], [request]
    ds.TimezoneOffsetFromUTC, ds.AccessionNumber = "+0900", "A1"
    ds.Manufacturer, ds.ManufacturerModelName = "Maker", "Scanner"


def write(files: dict[str, bytes], folder: Path) -> Path:
    """Write the files of a result."""
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    return folder


def complete(studio: Studio) -> Studio:
    """The same with all segments, not the sides of the psoas alone."""
    labels, sides = studio.found.labels.volume.array, studio.found.sides.array.copy()
    for segment in SEGMENTS:
        if segment.side is None:
            sides[labels == segment.structure.value] = segment.number
    found = replace(studio.found, sides=studio.found.sides.with_array(sides))
    return Studio(found, studio.measured)


@pytest.fixture(scope="session")
def _clean(studio: Studio, tmp_path_factory: pytest.TempPathFactory) -> ResultSet:
    before = ResultKey("1" * 32)
    studio = complete(studio)
    files = studio.encode(changed(studio, worklist), refused=("PI",), predecessor=before)
    folder = write(files, tmp_path_factory.mktemp("result") / ("0" * 32))
    return ResultSet(folder, json.loads(files["result.json"]), read(files))


@pytest.fixture
def results(_clean: ResultSet) -> ResultSet:
    """A correct result, the objects and `result.json` of which a test may change; its files stay."""
    return ResultSet(_clean.folder, copy.deepcopy(_clean.result), copy.deepcopy(_clean.objects))


def copied(results: ResultSet, folder: Path) -> ResultSet:
    """The same with a copy of its files, which a test may change too."""
    shutil.copytree(results.folder, folder)
    return ResultSet(folder, results.result, results.objects)


def items(ds: Dataset, keyword: str) -> Iterator[Any]:
    """Every element of a keyword, however deeply nested."""
    for element in ds:
        if element.keyword == keyword:
            yield element
        if element.VR == "SQ":
            for item in element.value:
                yield from items(item, keyword)
