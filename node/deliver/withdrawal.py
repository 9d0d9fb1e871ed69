"""A rejection note for a delivered result that another one replaces, as a file that is sent like any other."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from pydicom import dcmread

from dicomseg.encode.rejection_note import Rejection, RejectionReason, encode
from node.deliver.offers import NOTE
from node.deliver.port import ResultFile, read_result_file
from node.durable import publish
from node.store.results import WITHDRAWAL_FILE, withdrawal_bytes


def find_or_write_note(
    result_id: str,
    because: RejectionReason,
    files: Sequence[ResultFile],
    notes: Path,
    created: datetime,
) -> ResultFile:
    """Find the note that rejects these files of a result, as they were sent, or write it below `notes`.

    The same files and reason are the same note, with the time at which it was first written.
    """
    sent = [dcmread(file.path, stop_before_pixels=True) for file in files]
    rejection = Rejection(result_id, because, sent)
    directory = notes / rejection.key.result_id
    if not directory.exists():
        files_written = {
            NOTE: encode(rejection, created),
            WITHDRAWAL_FILE: withdrawal_bytes(result_id, because),
        }
        publish(notes, directory.name, files_written)
    return read_result_file(directory / NOTE)
