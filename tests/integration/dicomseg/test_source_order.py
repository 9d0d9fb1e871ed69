"""A series gives the same bytes in whatever order, number and association its slices come."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset

from dicomseg.encode.result_folder import encode_all
from dicomseg.encode.uids import ResultKey
from dicomseg.read.header import read_instance
from dicomseg.read.series import Grid, assemble
from node.work.pipeline import Settings, compute_key
from tests.support.random_series import IDENTITY, Geometry, Series, input_of
from tests.support.senders import send_files

SERIES = Series(
    Geometry(14, 12.0, (1.0, 0.2, -0.3), (1.1, 0.8, 0.9), (7.0, -31.0, 210.0), (15, 9, 16), seed=5)
)


def write(datasets: Sequence[Dataset], folder: Path) -> list[Path]:
    folder.mkdir()
    paths = [folder / f"{n:03d}.dcm" for n in range(len(datasets))]
    for path, ds in zip(paths, datasets, strict=True):
        ds.save_as(path, enforce_file_format=True)
    return paths


def key_of(files: Sequence[Path]) -> ResultKey:
    """The identity that the node gives the result of these files."""
    grid = assemble([read_instance(file) for file in files])
    assert isinstance(grid, Grid)
    engine = input_of(SERIES, files, ResultKey("0" * 32)).segmentation.engine
    return compute_key(grid, engine, Settings(IDENTITY))


def result_of(files: Sequence[Path]) -> dict[str, bytes]:
    return encode_all(input_of(SERIES, files, key_of(files)))


def shuffled(datasets: list[Dataset]) -> list[Dataset]:
    return random.Random(2).sample(datasets, len(datasets))


ORDERS: dict[str, Callable[[list[Dataset]], list[Dataset]]] = {
    "reversed": lambda d: d[::-1],
    "shuffled": shuffled,
    "by position": lambda d: sorted(d, key=lambda ds: int(ds.SOPInstanceUID.rsplit(".", 1)[1])),
}


@pytest.fixture
def before(tmp_path: Path) -> dict[str, bytes]:
    """The files of the result of the series as it is."""
    return result_of(write(SERIES.datasets(), tmp_path / "before"))


@pytest.mark.parametrize("order", ORDERS)
def test_the_order_of_files_changes_no_byte(
    order: str, before: dict[str, bytes], tmp_path: Path
) -> None:
    after = result_of(write(ORDERS[order](SERIES.datasets()), tmp_path / "after"))
    assert {n for n in before if before[n] != after.get(n)} == set()
    assert before.keys() == after.keys()


def test_other_instance_numbers_change_the_identity_and_nothing_else(tmp_path: Path) -> None:
    """Other bytes of the source are another result; with the same identity not a byte differs."""
    renumbered = SERIES.datasets()
    for n, ds in enumerate(shuffled(renumbered)):
        ds.InstanceNumber = 500 - 7 * n
    files = [write(d, tmp_path / str(n)) for n, d in enumerate((SERIES.datasets(), renumbered))]
    assert key_of(files[0]) != key_of(files[1])
    key = ResultKey("1" * 32)
    one, other = (encode_all(input_of(SERIES, f, key)) for f in files)
    assert one == other


@pytest.mark.servers
def test_slices_of_three_associations_give_the_same_bytes(
    listen: Any, before: dict[str, bytes]
) -> None:
    node, datasets = listen(), shuffled(SERIES.datasets())
    for part in (datasets[9:], datasets[:4], [*datasets[4:9], *datasets[2:6]]):  # some twice
        assert set(send_files(node.port, *part)) == {0}
    kept = [path for path in node.files() if path.suffix == ".dcm"]
    assert len(kept) == len(datasets)
    assert result_of(shuffled(kept)) == before
