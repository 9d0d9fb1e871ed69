"""Pixels land at their place in the patient, whatever the order, orientation or transfer syntax."""

import copy
import random
import shutil
import subprocess
import sys
import time
import tracemalloc
from dataclasses import replace

import highdicom
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk  # noqa: N813
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.uid import ImplicitVRLittleEndian, JPEG2000Lossless, RLELossless

from dicomseg.errors import SeriesRefused, Unreadable
from dicomseg.read import decode
from dicomseg.read.header import read_instance
from dicomseg.read.pixels import read_source
from dicomseg.read.series import Grid, assemble


def loaded(paths):
    grid = assemble([read_instance(p) for p in paths])
    assert isinstance(grid, Grid), grid
    return read_source(grid)


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


@pytest.mark.parametrize("declared", [False, True], ids=["zeros", "padding"])
def test_slices_without_a_picture_between_others_are_refused(scan, save, declared):
    datasets = scan.datasets()
    for n in (0, 5, 6, len(datasets) - 1):
        datasets[n].PixelData = bytes(len(datasets[n].PixelData))
        if declared:
            datasets[n].PixelPaddingValue = 0
    with pytest.raises(
        SeriesRefused, match=r"slice 6 of 14, slice 7 of 14: .* one value"
    ) as refused:
        loaded(save(datasets))
    assert refused.value.code == "pixels-missing"


def test_slices_without_a_picture_at_the_ends_are_usual(scan, save):
    datasets = scan.datasets()
    for n in (0, 1, len(datasets) - 1):
        datasets[n].PixelData = bytes(len(datasets[n].PixelData))
    assert loaded(save(datasets)).volume.shape[0] == len(datasets)


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
    grid = assemble([read_instance(p) for p in paths])
    assert isinstance(grid, Grid)
    paths[3].write_bytes(paths[3].read_bytes()[:-40])
    with pytest.raises(SeriesRefused, match=r"0003\.dcm: pixels cannot be decoded"):
        read_source(grid)


def inverted(plane, bits, signed):
    top = -1 if signed else (1 << bits) - 1
    return (top - plane.astype(np.int64)).astype(np.int16 if signed else np.uint16)


@pytest.mark.parametrize("slope", [None, "0.5"])
@pytest.mark.parametrize(("bits", "signed"), [(16, False), (12, False), (12, True), (16, True)])
def test_monochrome1_is_inverted(scan, save, bits, signed, slope):
    plain, turned = scan.datasets(), scan.datasets()
    for ds, plane in zip(plain, scan.pixels(), strict=True):
        ds.PixelData = plane.astype(np.int16).tobytes()
    for ds, plane in zip(turned, scan.pixels(), strict=True):
        ds.PhotometricInterpretation = "MONOCHROME1"
        ds.PixelData = inverted(plane, bits, signed).tobytes()
    for ds in (*plain, *turned):
        ds.BitsStored, ds.HighBit, ds.PixelRepresentation = bits, bits - 1, int(signed)
        if slope:
            ds.RescaleSlope, ds.RescaleIntercept = slope, "-7"
    expected = loaded(save(plain)).volume.array
    assert np.array_equal(loaded(save(turned)).volume.array, expected)


def test_monochrome1_with_a_slope_per_slice_keeps_the_order_of_brightness(scan, save):
    datasets = scan.datasets()
    for n, (ds, plane) in enumerate(zip(datasets, scan.pixels(), strict=True)):
        ds.PhotometricInterpretation = "MONOCHROME1"
        ds.RescaleSlope, ds.RescaleIntercept = f"{0.5 + 0.25 * n}", "0"
        ds.PixelData = (
            np.round((60_000 - plane) / float(ds.RescaleSlope) / 8).astype(np.uint16).tobytes()
        )
    array = loaded(save(datasets)).volume.array
    assert np.corrcoef(array.ravel(), scan.pixels().ravel())[0, 1] > 0.999


PADDING = {
    "unsigned": (0, 16, 65535, {"PixelPaddingValue": 65535}),
    "zero": (0, 16, 0, {"PixelPaddingValue": 0}),
    "signed": (1, 16, -2000, {"PixelPaddingValue": -2000}),
    "a range": (0, 16, 60_500, {"PixelPaddingValue": 65_000, "PixelPaddingRangeLimit": 60_000}),
    "in bits that are not stored": (0, 12, 4095, {"PixelPaddingValue": 65535}),
}


@pytest.mark.parametrize("implicit", [False, True])
@pytest.mark.parametrize("monochrome", [1, 2])
@pytest.mark.parametrize("kind", sorted(PADDING))
def test_declared_padding_has_the_smallest_value_of_the_picture(
    scan, tmp_path, kind, monochrome, implicit
):
    representation, bits, value, declared = PADDING[kind]
    datasets, paths = scan.datasets(), []
    dtype = np.int16 if representation else np.uint16
    for n, (ds, plane) in enumerate(zip(datasets, scan.pixels(), strict=True)):
        stored = plane.astype(dtype)
        if monochrome == 1:
            stored = inverted(plane, bits, bool(representation))
        stored[:, :1] = value
        ds.PhotometricInterpretation = f"MONOCHROME{monochrome}"
        ds.PixelRepresentation, ds.BitsStored, ds.HighBit = representation, bits, bits - 1
        ds.PixelData = stored.tobytes()
        for keyword, number in declared.items():
            ds.add_new(keyword, "SS" if representation else "US", number)
        if implicit:
            ds.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        paths.append(tmp_path / f"{n}.dcm")
        ds.save_as(paths[-1], enforce_file_format=True)
    array = loaded(paths).volume.array
    smallest = scan.pixels()[:, :, 1:].min()
    assert np.all(array[:, :, 0] == smallest)
    assert np.array_equal(array[:, :, 1:], scan.pixels()[:, :, 1:])


def test_a_series_of_padding_alone_is_refused(scan, save):
    datasets = scan.datasets()
    for ds in datasets:
        ds.PixelData = bytes(len(ds.PixelData))
        ds.add_new("PixelPaddingValue", "US", 0)
    with pytest.raises(SeriesRefused, match="all 420 voxels are padding"):
        loaded(save(datasets))


def _items(parts, offsets):
    """Encapsulated pixel data of fragments with an offset table (PS3.5 A.4)."""
    table = b"".join(n.to_bytes(4, "little") for n in offsets)
    items = [table, *(part + b"\0" * (len(part) % 2) for part in parts)]
    return b"".join(b"\xfe\xff\x00\xe0" + len(i).to_bytes(4, "little") + i for i in items)


@pytest.mark.parametrize("pieces", [2, 5])
@pytest.mark.parametrize("offsets", ["none", "first", "all"])
def test_a_frame_in_several_fragments_is_one_frame(scan, save, pieces, offsets):
    scan = replace(scan, shape=(14, 64, 64))
    plain = loaded(save(scan.datasets())).volume.array
    packed = scan.datasets()
    for ds in packed:
        ds.compress(JPEG2000Lossless, generate_instance_uid=False)
        whole = next(generate_frames(ds.PixelData, number_of_frames=1))
        size = len(whole) // pieces // 2 * 2
        parts = [whole[n * size : (n + 1) * size] for n in range(pieces - 1)]
        parts.append(whole[(pieces - 1) * size :])
        at = [n * (size + 8) for n in range(pieces)]
        ds.PixelData = _items(parts, {"none": [], "first": [0], "all": at}[offsets])
    assert np.array_equal(loaded(save(packed)).volume.array, plain)


@pytest.mark.parametrize("offsets", ["none", "wrong number"])
def test_frames_of_an_object_in_two_fragments_each(scan, save, offsets):
    scan = replace(scan, shape=(14, 64, 64))
    plain = loaded(save([scan.enhanced()])).volume.array
    ds = scan.enhanced()
    ds.compress(JPEG2000Lossless, generate_instance_uid=False)
    parts, at = [], [0]
    for whole in generate_frames(ds.PixelData, number_of_frames=14):
        half = len(whole) // 4 * 2
        for part in (whole[:half], whole[half:]):
            parts.append(part)
            at.append(at[-1] + 8 + len(part) + len(part) % 2)
    ds.PixelData = _items(parts, [] if offsets == "none" else at[:-1])
    assert np.array_equal(loaded(save([ds])).volume.array, plain)


@pytest.mark.parametrize("frames", ["", "1", "many"])
def test_a_classic_slice_may_say_anything_about_its_frames(scan, save, frames):
    datasets = scan.datasets()
    for ds in datasets:
        with pydicom.config.disable_value_validation():
            ds.add_new("NumberOfFrames", "LO", frames)
        ds["NumberOfFrames"].VR = "IS" if frames != "many" else "LO"
    assert np.array_equal(loaded(save(datasets)).volume.array, scan.pixels())


def test_enhanced_objects_of_one_frame_each_are_one_grid(scan, save):
    datasets = []
    for n, plane in enumerate(scan.pixels()):
        ds = scan.enhanced()
        frame = ds.PerFrameFunctionalGroupsSequence[scan.shape[0] - 1 - n]
        ds.PerFrameFunctionalGroupsSequence = [frame]
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"1.2.9.{n + 1}"
        ds.NumberOfFrames, ds.InstanceNumber = 1, n + 1
        ds.PixelData = plane.tobytes()
        datasets.append(ds)
    source = loaded(save(datasets))
    assert len(source.datasets) == scan.shape[0]
    assert np.array_equal(source.volume.array, scan.pixels())


def test_of_several_stacks_the_frames_of_one_are_used(scan, save):
    ds = scan.enhanced()
    frames = list(ds.PerFrameFunctionalGroupsSequence)
    for number, frame in enumerate(frames, 1):
        frame.FrameContentSequence = [Dataset()]
        frame.FrameContentSequence[0].StackID = "1"
        frame.FrameContentSequence[0].InStackPositionNumber = number
    for n in range(12):
        frame, plane, where, content = (Dataset() for _ in range(4))
        plane.ImageOrientationPatient = [0, 1, 0, 0, 0, -1]
        where.ImagePositionPatient = [-10 + 2.0 * n, -20, 40]
        content.StackID = "2"
        frame.PlaneOrientationSequence, frame.PlanePositionSequence = [plane], [where]
        frame.FrameContentSequence = [content]
        frames.append(frame)
    ds.PerFrameFunctionalGroupsSequence = frames
    ds.NumberOfFrames = len(frames)
    ds.PixelData += bytes(12 * 6 * 5 * 2)
    source = loaded(save([ds]))
    assert source.grid.frame_order == tuple(range(13, -1, -1))
    assert [(a.code, a.count) for a in source.grid.set_aside] == [("mixed-orientations", 12)]
    assert np.array_equal(source.volume.array, scan.pixels())


@pytest.mark.parametrize("order", ["by contrast", "by slice"])
def test_of_a_dixon_in_one_object_the_water_frames_are_used(scan, save, order):
    ds = scan.enhanced()
    count, planes = scan.shape[0], scan.pixels()[::-1]
    frames, pixels = [], []
    pairs = [(kind, n) for kind in ("FAT", "WATER", "IN_PHASE") for n in range(count)]
    for kind, n in sorted(pairs, key=lambda p: p[1]) if order == "by slice" else pairs:
        frame = copy.deepcopy(ds.PerFrameFunctionalGroupsSequence[n])
        frame_type = Dataset()
        frame_type.FrameType, frame_type.ComplexImageComponent = (
            ["ORIGINAL", "PRIMARY", "DIXON", kind],
            "MAGNITUDE",
        )
        frame.MRImageFrameTypeSequence = [frame_type]
        frames.append(frame)
        pixels.append(planes[n] + {"FAT": 1000, "WATER": 0, "IN_PHASE": 2000}[kind])
    ds.PerFrameFunctionalGroupsSequence, ds.NumberOfFrames = frames, len(frames)
    ds.PixelData = np.stack(pixels).astype(np.uint16).tobytes()
    source = loaded(save([ds]))
    assert np.array_equal(source.volume.array, scan.pixels())
    assert [(a.code, a.count) for a in source.grid.set_aside] == [("mixed-contrasts", count)] * 2
    assert source.grid.reaches(len(frames))


@pytest.mark.parametrize("syntax", [RLELossless, JPEG2000Lossless])
def test_compressed_pixels_of_another_size_are_refused(scan, save, syntax):
    """The header says fewer or more rows than the frame holds; pylibjpeg-rle panics at some of them."""
    scan = replace(scan, shape=(14, 32, 32))
    for rows in (16, 31, 33, 64):
        packed = scan.datasets()
        for ds in packed:
            ds.compress(syntax, generate_instance_uid=False)
            ds.Rows = rows
        with pytest.raises(SeriesRefused):
            loaded(save(packed))


@pytest.mark.parametrize(
    "error", [MemoryError, RecursionError, type("Panic", (BaseException,), {})]
)
def test_whatever_a_decoder_raises_is_the_objects_fault(scan, save, monkeypatch, error):
    def fail(*_args, **_kwargs):
        raise error("index out of bounds")
        yield

    monkeypatch.setattr(decode, "iter_pixels", fail)
    with pytest.raises(SeriesRefused, match=r"0000\.dcm: pixels cannot be decoded \(index out of"):
        loaded(save(scan.datasets()))


@pytest.mark.parametrize("big", [(128, 2048, 2048), (100_000, 512, 512), (12, 65535, 65535)])
def test_more_voxels_than_a_series_has_are_refused_before_decoding(scan, save, big):
    grid = assemble([read_instance(p) for p in save(scan.datasets())])
    assert isinstance(grid, Grid)
    with pytest.raises(SeriesRefused, match="more than any MR series has"):
        read_source(replace(grid, shape=big))


def test_decoding_takes_little_more_memory_than_the_volume(scan, save):
    scan = replace(scan, shape=(40, 256, 256))
    datasets = []
    for n in range(40):
        ds = replace(scan, shape=(40, 6, 5)).dataset(n)
        ds.Rows = ds.Columns = 256
        ds.PixelData = np.arange(256 * 256, dtype=np.uint16).tobytes()
        ds.compress(RLELossless, generate_instance_uid=False)
        datasets.append(ds)
    paths = save(datasets)
    grid = assemble([read_instance(p) for p in paths])
    assert isinstance(grid, Grid)
    read_source(grid)  # libraries and tables
    tracemalloc.start()
    volume = read_source(grid).volume
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1.4 * volume.array.nbytes


@pytest.mark.shared
def test_every_real_grid_decodes(shared):
    decoded = set()
    for folder in sorted((shared / "data/dicom").glob("*/")):
        for path in sorted(folder.glob("*"))[:1]:
            try:
                grid = assemble([read_instance(path)])
            except Unreadable:
                continue
            if isinstance(grid, Grid):
                assert read_source(grid).volume.shape == grid.shape
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
    instances = [read_instance(folder / "IM0001.dcm") for folder in folders]
    shape, order = (10, 64, 64), tuple(range(10))
    arrays = [
        read_source(Grid((i,), np.eye(4), shape, "axial", "", order)).volume.array
        for i in instances
    ]
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


@pytest.mark.process
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
    grid = assemble([read_instance(p) for p in paths])
    assert isinstance(grid, Grid)
    start = time.process_time()
    assert read_source(grid).volume.shape == big.shape
    assert time.process_time() - start < 2.0
    shutil.rmtree(tmp_path)
