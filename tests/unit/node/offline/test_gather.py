"""Files and folders given on the command line: one bad file or series never costs the others."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MediaStorageDirectoryStorage

from dicomseg.read.rules import DEFAULT_RULES
from node.offline import gather as batch
from node.offline.gather import gather, judge_all, skipped_file_lines


def test_files_that_are_no_images_are_named_and_leave_the_series_alone(
    tmp_path: Path, write_series: Any
) -> None:
    paths = write_series(tmp_path / "Müller CD")
    (tmp_path / "LIESMICH.TXT").write_text("Diese CD")
    (tmp_path / "all.zip").write_bytes(b"PK\x03\x04" + bytes(500))
    (tmp_path / "half").write_bytes(paths[0].read_bytes()[:300])
    os.mkfifo(tmp_path / "pipe")
    gathered = gather([tmp_path])
    assert [len(held) for held in gathered.series.values()] == [14]
    lines = "\n".join(skipped_file_lines(gathered))
    assert "LIESMICH.TXT: not a DICOM object" in lines
    assert "all.zip: a ZIP archive; unpack it first" in lines
    assert "half: " in lines
    assert len(gathered.skipped_files) == 3


def test_the_table_of_contents_of_a_disc_is_left_out_silently(
    tmp_path: Path, write_series: Any
) -> None:
    write_series(tmp_path)
    contents = Dataset()
    contents.file_meta = FileMetaDataset()
    contents.file_meta.MediaStorageSOPClassUID = MediaStorageDirectoryStorage
    contents.file_meta.MediaStorageSOPInstanceUID = "1.2.9"
    contents.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    contents.FileSetID, contents.DirectoryRecordSequence = "CD", []
    contents.save_as(tmp_path / "DICOMDIR", enforce_file_format=True)
    gathered = gather([tmp_path])
    assert [len(held) for held in gathered.series.values()] == [14]
    assert gathered.skipped_files == ()


def test_a_series_that_fails_is_its_own_row(
    tmp_path: Path, write_series: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_series(tmp_path / "a")
    write_series(tmp_path / "b", series="1.2.4")
    original = batch.judge_series

    def candidate(series: str, *rest: Any) -> Any:
        if series == "1.2.4":
            raise ZeroDivisionError
        return original(series, *rest)

    monkeypatch.setattr(batch, "judge_series", candidate)
    judged = {j.candidate.series: j for j in judge_all(gather([tmp_path]), DEFAULT_RULES)}
    assert judged["1.2.3"].status == "eligible"
    assert judged["1.2.4"].status == "refused"
    assert "internal error (ZeroDivisionError)" in judged["1.2.4"].verdict.reasons[0]
