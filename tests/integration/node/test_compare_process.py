"""The child process that compares: its death, its time, its memory."""

from __future__ import annotations

import errno
import os
import resource
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import (
    RLELossless,
)

from node.receive.compare_process import Comparer
from tests.support.syntaxes import in_syntax, store_object


@pytest.fixture
def ds(tmp_path: Path, write_series: Any) -> Dataset:
    (path,) = write_series(tmp_path / "in", slices=1)
    return dcmread(path)


@pytest.fixture
def comparer() -> Iterator[Comparer]:
    one = Comparer()
    yield one
    one.close()


def test_child_that_died_in_between_costs_no_comparison(
    comparer: Comparer, tmp_path: Path, ds: Dataset
) -> None:
    path = store_object(tmp_path, ds)
    new = tmp_path / "new.dcm"
    new.write_bytes(b"".join(in_syntax(ds, RLELossless)))
    assert comparer(path, new).value == "same"
    child = comparer._child._process
    assert child is not None
    child.terminate()  # as a service manager does to every process of a service that it stops
    child.wait(10)
    assert comparer(path, new).value == "same"
    assert comparer(path, tmp_path / "absent.dcm").value == "other"


def test_child_does_not_hear_ctrl_c(comparer: Comparer, tmp_path: Path, ds: Dataset) -> None:
    path = store_object(tmp_path, ds)
    comparer(path, path)
    assert comparer._child._process is not None
    assert os.getpgid(comparer._child._process.pid) != os.getpgrp()


def test_objects_that_end_the_child_twice_are_not_the_same(
    comparer: Comparer, tmp_path: Path, ds: Dataset, monkeypatch: Any
) -> None:
    starts: list[object] = []

    def dies(_module: str) -> subprocess.Popen[bytes]:
        starts.append(1)
        return subprocess.Popen(
            [sys.executable, "-c", "input()"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    monkeypatch.setattr("node.sandbox.child._start", dies)
    path = store_object(tmp_path, ds)
    assert comparer(path, path).value == "other"
    assert len(starts) == 2


def test_machine_without_room_for_the_child_decides_nothing(
    comparer: Comparer, tmp_path: Path, ds: Dataset, monkeypatch: Any
) -> None:
    def no_room(_module: str) -> subprocess.Popen[bytes]:
        raise OSError(errno.EAGAIN, os.strerror(errno.EAGAIN))

    monkeypatch.setattr("node.sandbox.child._start", no_room)
    path = store_object(tmp_path, ds)
    with pytest.raises(OSError, match="temporarily unavailable"):
        comparer(path, path)


def test_child_that_takes_too_long_is_ended(tmp_path: Path, ds: Dataset) -> None:
    comparer = Comparer(0.0)
    path = store_object(tmp_path, ds)
    assert comparer(path, path).value == "other"
    assert comparer._child._process is None


def test_picture_that_declares_gigabytes_costs_the_child_not_the_node(
    comparer: Comparer, tmp_path: Path, ds: Dataset
) -> None:
    ds.Rows = ds.Columns = 65535
    native = store_object(tmp_path, ds)
    ds.Rows = ds.Columns = 4
    ds.compress(RLELossless, generate_instance_uid=False)
    ds.Rows = ds.Columns = 65535
    path = tmp_path / "huge.dcm"
    ds.save_as(path, enforce_file_format=True)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert comparer(path, native).value == "other"
    assert comparer(path, path).value == "same"  # equal bytes need no decoder
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000
