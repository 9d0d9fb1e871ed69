"""A rejection note for a delivered result that another redirectorys, as a file that is sent like any other."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from pydicom import dcmread

from dicomseg.encode.rejection_note import Rejection, RejectionReason, encode
from node.deliver.port import ResultFile, read_result_file, result_files
from node.durable import publish

NOTE: Final = "rejection.dcm"


def find_or_write_note(
    result: Path, because: RejectionReason, files: Sequence[str], notes: Path, created: datetime
) -> ResultFile:
    """Find the note that rejects these files of a result folder, or write it below `notes`.

    The same files and reason are the same note, with the time at which it was first written.

    Raises:
        DamagedResult: a file is gone or damaged, so what was sent is not known for certain.
    """
    sent = [dcmread(p.path, stop_before_pixels=True) for p in result_files(result, files)]
    rejection = Rejection(result.name, because, sent)
    directory = notes / rejection.key.result_id
    if not directory.exists():
        publish(notes, directory.name, {NOTE: encode(rejection, created)})
    return read_result_file(directory / NOTE)
