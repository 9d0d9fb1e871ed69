"""What the process that reads headers answers, and what the service makes of it."""

from __future__ import annotations

import errno
import json
from pathlib import Path
from typing import Any

import pytest

from dicomseg.errors import Unreadable
from dicomseg.read import header as headers
from node.sandbox import header_process
from node.sandbox.child import Silence
from node.sandbox.headers import HeaderReader


class _Child:
    """Gives one answer, through JSON as the real one."""

    def __init__(self, answer: Any) -> None:
        self.answer = answer

    def ask(self, question: Any) -> Any:
        if isinstance(self.answer, Silence):
            return self.answer
        return json.loads(
            json.dumps(self.answer(question) if callable(self.answer) else self.answer)
        )


def _reader(answer: Any) -> HeaderReader:
    reader = HeaderReader()
    reader._child = _Child(answer)  # type: ignore[assignment]
    return reader


def test_header_is_the_same_as_when_it_is_read_here(write_series: Any, tmp_path: Path) -> None:
    (path,) = write_series(tmp_path / "in", slices=1, PatientName="Ünser^Name")
    read = _reader(header_process.answer)(path)
    assert read == headers.read_instance(path)
    assert isinstance(read.position_lps, tuple)
    assert hash(read) == hash(headers.read_instance(path))


def test_many_frames_come_as_the_tuples_that_they_were(write_series: Any, tmp_path: Path) -> None:
    (path,) = write_series(tmp_path / "in", slices=1)
    one = headers.read_instance(path)
    orientations = (((1.0, 0.0, 0.0), None), ((0.1, float("inf"), 1e-300), (0.0, 1.0, 0.0)))
    values = [getattr(one, name) for name in header_process._FIELDS]
    values[header_process._FIELDS.index("frame_orientations_lps")] = orientations
    assert _reader({"instance": values})(path).frame_orientations_lps == orientations


def test_file_that_is_no_object_is_refused_with_its_reason(tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(b"no DICOM")
    with pytest.raises(Unreadable) as here:
        headers.read_instance(path)
    with pytest.raises(Unreadable) as there:
        _reader(header_process.answer)(path)
    assert str(there.value) == str(here.value)


def test_fault_of_the_machine_stays_one(tmp_path: Path, monkeypatch: Any) -> None:
    path = tmp_path / "a.dcm"

    def none_left(*_: Any) -> Any:
        raise OSError(errno.EMFILE, "too many open files")

    monkeypatch.setattr(Path, "open", none_left)
    with pytest.raises(Unreadable) as refused:
        _reader(header_process.answer)(path)
    assert isinstance(refused.value.__cause__, OSError)
    assert refused.value.__cause__.errno == errno.EMFILE


@pytest.mark.parametrize(
    ("cause", "reason"), [("late", "took more than 20 s"), ("ended", "ended the process")]
)
def test_header_that_is_not_answered_is_unreadable(cause: Any, reason: str) -> None:
    with pytest.raises(Unreadable, match=f"a.dcm: reading its header {reason}"):
        _reader(Silence(cause))(Path("a.dcm"))


def test_uids_of_the_file_meta_information_are_read_as_far_as_they_go(
    write_series: Any, tmp_path: Path
) -> None:
    (path,) = write_series(tmp_path / "in", slices=1)
    assert _reader(header_process.answer).meta(path)["MediaStorageSOPInstanceUID"] == "1.2.3.1"
    path.write_bytes(b"junk")
    assert set(_reader(header_process.answer).meta(path).values()) == {""}
    assert _reader(Silence("late")).meta(path) == {}
