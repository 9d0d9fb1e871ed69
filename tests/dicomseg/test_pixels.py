"""Pixels land at their place in the patient, whatever the order, orientation or transfer syntax."""

import random
import shutil
import subprocess
import sys
import time
from dataclasses import replace

import highdicom
import numpy as np
import pytest
import SimpleITK as sitk  # noqa: N813
from pydicom.dataset import Dataset
from pydicom.uid import JPEG2000Lossless, RLELossless

from dicomseg import pixels
from dicomseg.errors import SeriesRefused, Unreadable
from dicomseg.headers import read
from dicomseg.pixels import load
from dicomseg.series import Grid, assemble


def loaded(paths):
    grid = assemble([read(p) for p in paths])
    assert isinstance(grid, Grid), grid
    return load(grid)


def truth_at(scan, lps):
    """The pixel value at a patient point, from the definition of the image plane (PS3.3 C.7.6.2.1.1)."""
    way = np.asarray(lps) - np.array(scan.first_lps)
    index = [
        round(float(way @ np.array(axis)) / step)
        for axis, step in zip((scan.normal, scan.column, scan.row), scan.spacing_mm, strict=True)
    ]
    return scan.pixels()[tuple(index)]


@pytest.mark.parametrize("order", ["as acquired", "reversed", "shuffled"])
def test_every_voxel_lies_where_its_header_says(any_scan, save, order):
    datasets = any_scan.datasets()
    if order == "reversed":
        datasets = datasets[::-1]
    elif order == "shuffled":
        datasets = random.Random(5).sample(datasets, len(datasets))
    source = loaded(save(datasets))
    volume = source.volume
    assert volume.array.dtype == np.uint16
    for index in np.ndindex(volume.shape):
        assert volume.array[index] == truth_at(any_scan, volume.to_patient(np.array(index)))


def test_data_sets_keep_their_header_and_lose_their_pixels(scan, save):
    source = loaded(save(random.Random(1).sample(scan.datasets(), scan.shape[0])))
    assert not any("PixelData" in ds for ds in source.datasets)
    assert [ds.InstanceNumber for ds in source.datasets] == list(range(1, 15))
    assert [str(ds.SOPInstanceUID) for ds in source.datasets] == [
        i.sop_instance_uid for i in source.grid.instances
    ]


def test_simpleitk_finds_the_same_values_at_the_same_places(any_scan, save):
    paths = save(any_scan.datasets())
    volume = loaded(paths).volume
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(paths[0].parent)))
    image = reader.Execute()
    for index in np.ndindex(volume.shape):
        point = volume.to_patient(np.array(index))
        at = image.TransformPhysicalPointToContinuousIndex(point.tolist())
        assert np.allclose(at, np.round(at), atol=1e-4)
        assert image[[round(v) for v in at]] == volume.array[index]


def test_highdicom_finds_the_same_values_at_the_same_places(any_scan, save):
    source = loaded(save(any_scan.datasets()))
    other = highdicom.get_volume_from_series(any_scan.datasets())
    index = np.stack(np.indices(source.volume.shape), axis=-1).reshape(-1, 3)
    there = np.rint(other.map_reference_to_indices(source.volume.to_patient(index))).astype(int)
    assert np.array_equal(source.volume.array[tuple(index.T)], other.array[tuple(there.T)])


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_compressed_slices_decode_to_the_same_voxels(scan, save, syntax):
    scan = replace(scan, shape=(14, 32, 32))
    plain = loaded(save(scan.datasets())).volume.array
    packed = scan.datasets()
    for ds in packed:
        ds.compress(syntax, generate_instance_uid=False)
    assert np.array_equal(loaded(save(packed)).volume.array, plain)


def test_enhanced_frames_lie_where_their_positions_say(any_scan, save):
    """The frames come in descending order; the slices ascend along the normal."""
    source = loaded(save([any_scan.enhanced()]))
    assert source.grid.frame_order == tuple(range(13, -1, -1))
    assert len(source.datasets) == 1
    volume = source.volume
    for index in np.ndindex(volume.shape):
        assert volume.array[index] == truth_at(any_scan, volume.to_patient(np.array(index)))


def test_frames_may_have_a_rescale_of_their_own(scan, save):
    ds = scan.enhanced()
    for n, frame in enumerate(ds.PerFrameFunctionalGroupsSequence):
        scale = Dataset()
        scale.RescaleSlope, scale.RescaleIntercept = "2", str(n)
        frame.PixelValueTransformationSequence = [scale]
    array = loaded(save([ds])).volume.array
    shift = np.arange(13, -1, -1)[:, None, None]
    assert np.array_equal(array, scan.pixels() * 2.0 + shift)


def test_rescale_gives_float32(scan, save):
    datasets = scan.datasets()
    for ds in datasets:
        ds.RescaleSlope, ds.RescaleIntercept = "0.5", "-3"
    array = loaded(save(datasets)).volume.array
    assert array.dtype == np.float32
    assert np.array_equal(array, scan.pixels().astype(np.float32) * 0.5 - 3)


def test_signed_pixels_stay_signed(scan, save):
    datasets = scan.datasets()
    for ds, plane in zip(datasets, scan.pixels(), strict=True):
        ds.PixelRepresentation = 1
        ds.PixelData = (plane.astype(np.int16) - 200).tobytes()
    array = loaded(save(datasets)).volume.array
    assert array.dtype == np.int16
    assert array.min() == -199


def test_constant_pixels_are_refused_with_the_value(scan, save):
    datasets = scan.datasets()
    for ds in datasets:
        ds.PixelData = np.full(scan.shape[1:], 7, dtype=np.uint16).tobytes()
    with pytest.raises(SeriesRefused, match="all 420 voxels are 7"):
        loaded(save(datasets))


def test_infinite_voxels_are_refused_with_their_number(scan, save):
    datasets = scan.datasets()
    for ds in datasets:
        ds.RescaleSlope, ds.RescaleIntercept = "1e38", "0"
    with pytest.raises(SeriesRefused, match=r"\d+ of 420 voxels are NaN or infinite"):
        loaded(save(datasets))


def test_colours_are_refused(scan, save):
    datasets = scan.datasets()
    for ds in datasets:
        ds.SamplesPerPixel, ds.PhotometricInterpretation, ds.PlanarConfiguration = 3, "RGB", 0
        ds.BitsAllocated = ds.BitsStored = 8
        ds.HighBit = 7
        ds.PixelData = bytes(np.prod(scan.shape[1:]) * 3)
    with pytest.raises(SeriesRefused, match="RGB"):
        loaded(save(datasets))


def test_pixels_lost_after_receiving_are_refused(scan, save):
    paths = save(scan.datasets())
    grid = assemble([read(p) for p in paths])
    assert isinstance(grid, Grid)
    paths[3].write_bytes(paths[3].read_bytes()[:-40])
    with pytest.raises(SeriesRefused, match=r"0003\.dcm: pixels cannot be decoded"):
        load(grid)


@pytest.mark.shared
def test_every_real_grid_decodes(shared):
    decoded = set()
    for folder in sorted((shared / "data/dicom").glob("*/")):
        for path in sorted(folder.glob("*"))[:1]:
            try:
                grid = assemble([read(path)])
            except Unreadable:
                continue
            if isinstance(grid, Grid):
                assert load(grid).volume.shape == grid.shape
                decoded.add(folder.name)
    assert {
        "siemens-epi-jpeg",
        "siemens-epi-jpeg2000",
        "pydicom-mr2-j2ki",
        "siemens-xa30-enhanced-dwi",
    } <= decoded


@pytest.mark.shared
def test_one_object_decodes_equally_from_five_transfer_syntaxes(shared):
    folders = sorted((shared / "data/dicom").glob("pydicom-emri-small*"))
    assert len(folders) == 5
    arrays = [pixels._stored(read(folder / "IM0001.dcm"))[1] for folder in folders]
    for array in arrays:
        assert array.shape == (10, 64, 64)
        assert np.array_equal(array, arrays[0])


@pytest.mark.shared
def test_enhanced_frames_lie_where_highdicom_puts_them(shared):
    path = shared / "data/dicom/siemens-xa30-enhanced-dwi/IM0001.dcm"
    volume = loaded([path]).volume
    other = highdicom.imread(path).get_volume(apply_modality_transform=False, dtype=np.uint16)
    index = np.stack(np.indices(volume.shape), axis=-1).reshape(-1, 3)[::17]
    there = np.rint(other.map_reference_to_indices(volume.to_patient(index))).astype(int)
    assert np.array_equal(volume.array[tuple(index.T)], other.array[tuple(there.T)])


@pytest.mark.shared
@pytest.mark.parametrize("form", ["sagittal", "axial"])
def test_real_t2_space_lies_where_simpleitk_puts_it(shared, tmp_path, form):
    out = tmp_path / "series"
    tool = [
        sys.executable,
        str(shared / "tools/spider_to_dicom.py"),
        str(shared / "data/spider/5.image.nii.gz"),
    ]
    subprocess.run(
        [*tool, str(out), *(["--axial"] if form == "axial" else [])],
        check=True,
        capture_output=True,
    )
    source = loaded(sorted(out.glob("*")))
    assert source.grid.orientation == form
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(out)))
    image = reader.Execute()
    rng = np.random.default_rng(0)
    for index in rng.integers(0, source.volume.shape, size=(400, 3)):
        at = image.TransformPhysicalPointToContinuousIndex(source.volume.to_patient(index).tolist())
        assert np.allclose(at, np.round(at), atol=1e-4)
        assert image[[round(v) for v in at]] == source.volume.array[tuple(index)]


@pytest.mark.slow
def test_a_full_series_decodes_within_seconds(scan, tmp_path):
    big = replace(scan, shape=(128, 320, 320), spacing_mm=(0.8, 0.75, 0.75))
    plane = np.arange(320 * 320, dtype=np.uint16).tobytes()
    small = replace(scan, shape=(128, 6, 5), spacing_mm=(0.8, 0.75, 0.75))
    paths = []
    for n in range(128):
        ds = small.dataset(n)
        ds.Rows = ds.Columns = 320
        ds.PixelData = plane
        paths.append(tmp_path / f"{n}.dcm")
        ds.save_as(paths[-1], enforce_file_format=True)
    grid = assemble([read(p) for p in paths])
    assert isinstance(grid, Grid)
    start = time.process_time()
    assert load(grid).volume.shape == big.shape
    assert time.process_time() - start < 2.0
    shutil.rmtree(tmp_path)
