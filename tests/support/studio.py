"""Results without pixels and without a network: a small segmentation and the headers of its series."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydicom import config, dcmread
from pydicom.charset import convert_encodings
from pydicom.datadict import dictionary_VR
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset
from pydicom.filewriter import correct_ambiguous_vr
from pydicom.tag import Tag

from dicomseg.encode.context import EncodeInput, own_text
from dicomseg.encode.gather import build_result
from dicomseg.encode.rehearsal import TrialInput
from dicomseg.encode.result_folder import encode_all
from dicomseg.encode.sanitise import sanitised_headers
from dicomseg.encode.uids import Identity, ResultKey
from dicomseg.measure.measure import measure
from dicomseg.read import header as headers
from dicomseg.read.pixels import Source
from dicomseg.read.series import Grid, assemble
from dicomseg.result import Measurements, Refusal
from dicomseg.segmentation import Labels, Segmentation
from dicomseg.volume import Volume
from tests.support.scans import Scan
from tests.support.shapes import Shapes, segmentation, spine


def raw(ds: Dataset, keyword: str, value: bytes, vr: str | None = None) -> None:
    """Put bytes as they would stand in a file, whatever pydicom thinks of them."""
    tag = Tag(keyword)
    value += b" " * (len(value) % 2)
    vr = vr or dictionary_VR(tag)
    ds[tag] = RawDataElement(tag, vr, len(value), value, 0, False, True)


def as_read(ds: Dataset) -> Dataset:
    """The data set as a reader of its file has it: nothing converted yet."""
    out = BytesIO()
    with config.disable_value_validation(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        encodings = convert_encodings(ds.get("SpecificCharacterSet", "ISO_IR 6"))
        ds.set_original_encoding(
            False, True, encodings
        )  # so that raw elements are written as they are
        correct_ambiguous_vr(ds, is_little_endian=True)
        ds.save_as(out, enforce_file_format=True)
        out.seek(0)
        return dcmread(out)


@dataclass(frozen=True)
class Studio:
    """A small segmentation and the headers of the series it could come from."""

    found: Segmentation
    measured: Measurements

    def slices(self) -> list[Dataset]:
        """Headers of a classic series on the segmentation's grid, without pixels."""
        volume = self.found.sides
        spacing, (row, column) = (
            volume.spacing_mm,
            (volume.directions[:, 2], volume.directions[:, 1]),
        )
        scan = Scan(tuple(row), tuple(column), tuple(volume.affine[:3, 3]), spacing, volume.shape)
        step = volume.affine[:3, 0]
        out = []
        for n in range(volume.shape[0]):
            first = tuple(float(v) for v in np.round(volume.affine[:3, 3] + n * step, 9))
            small = replace(scan, shape=(1, 1, 1), first_lps=first)
            ds = small.dataset(0)
            ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.4.{n + 1}"
            ds.Rows, ds.Columns, ds.InstanceNumber = *volume.shape[1:], n + 1
            ds.SequenceVariant, ds.ReferringPhysicianName = "SK", ""
            ds.Manufacturer = "Maker"
            out.append(ds)
        return out

    def sheared(self, drift_mm: float) -> Studio:
        """The same on a grid whose slices drift along the columns by so much each."""
        affine = self.found.sides.affine.copy()
        affine[:3, 0] += self.found.sides.directions[:, 1] * drift_mm
        sides = Volume(self.found.sides.array, affine)
        labels = Labels(
            Volume(self.found.labels.volume.array, affine), self.found.labels.analysed_mask
        )
        return Studio(replace(self.found, sides=sides, labels=labels), self.measured)

    def cropped(self, rows: int, columns: int) -> Studio:
        """The same of fewer rows and columns."""
        labels, sides = self.found.labels, self.found.sides
        stop = (sides.shape[0], rows, columns)
        found = replace(
            self.found,
            sides=sides.box((0, 0, 0), stop),
            labels=Labels(
                labels.volume.box((0, 0, 0), stop), labels.analysed_mask[:, :rows, :columns]
            ),
        )
        return Studio(found, self.measured)

    def source(self, datasets: Sequence[Dataset]) -> Source:
        """The series as `load` gives it, with pixels of noise."""
        once = [
            as_read(ds) for ds in datasets
        ]  # headers and pixels are read by themselves, as in the node
        instances = [
            headers.instance_from_dataset(ds, Path(f"{n}.dcm"), str(n)) for n, ds in enumerate(once)
        ]
        read = [as_read(ds) for ds in datasets]
        grid = assemble(instances)
        assert isinstance(grid, Grid), grid
        by_uid = {str(ds.SOPInstanceUID): ds for ds in read}
        noise = np.random.default_rng(1).integers(1, 900, grid.shape, dtype=np.uint16)
        volume = Volume(noise, grid.affine, grid.frame_of_reference_uid)
        return Source(grid, tuple(by_uid[i.sop_instance_uid] for i in grid.instances), volume)

    def plan(self, datasets: Sequence[Dataset]) -> TrialInput:
        """What is known before the network runs."""
        source, now = self.source(datasets), datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
        return TrialInput(
            source, sanitised_headers(source), ResultKey("0" * 32), self.found.engine, IDENTITY, now
        )

    def encode(
        self, datasets: Sequence[Dataset], *, refused: Sequence[str] = (), **more: Any
    ) -> dict[str, bytes]:
        """All files of one result; measured with the given refusals in the place of values."""
        return encode_all(self.inputs(datasets, refused=refused, **more))

    def inputs(
        self, datasets: Sequence[Dataset], *, refused: Sequence[str] = (), **more: Any
    ) -> EncodeInput:
        """What every encoder of that result is given."""
        source, identity = self.source(datasets), more.pop("identity", IDENTITY)
        cleaned = sanitised_headers(source, own_text(identity))
        main = {
            name: replace(
                m, value_mm=None, points_lps=None, refusal=Refusal("outside_image", "cut ±1 mm²")
            )
            if name in refused
            else m
            for name, m in self.measured.main.items()
        }
        key, now = ResultKey("0" * 32), datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
        measured = replace(self.measured, main=main)
        result = build_result(source, cleaned, self.found, measured, key, now, {})
        return EncodeInput(result, source, self.found, key, cleaned, identity, now, **more)


IDENTITY = Identity("m", "n", "1", "1", "")


@pytest.fixture(scope="session")
def studio() -> Studio:
    small = Shapes().straight(low_mm=(-60.0, -45.0, -9.0), high_mm=(60.0, 40.0, 9.0))
    found = segmentation(spine(), small)
    return Studio(found, measure(found))


@pytest.fixture(scope="session")
def put_raw() -> Callable[..., None]:
    return raw
