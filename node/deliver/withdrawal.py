"""A rejection note for a delivered result that another replaces, as a file that is sent like any other."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Final

from pydicom import dcmread

from dicomseg.encode.rejection_note import Rejection, RejectionReason, encode
from node import durable as folder
from node.deliver.port import ResultFile, read_result_file, result_files

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
    place = notes / rejection.key.result_id
    if not place.exists():
        folder.publish(notes, place.name, {NOTE: encode(rejection, created)})
    return read_result_file(place / NOTE)
