"""The report of a result as a physician confirmed it, made from the result's own report and the journal's row.

Both are durable before the file is: a kill between the decision and the file, or between the file and its delivery,
makes the same bytes again.
"""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from pydicom import dcmread

from dicomseg.encode.verified_sr import Verification, encode
from node.deliver.port import ResultFile, read_result_file, result_files
from node.durable import publish
from node.errors import DamagedResult
from node.journal.reviews import Decision

VERIFIED_FILE: Final = "verified.dcm"
REPORT: Final = "measurements.dcm"
"""The report of a result that a physician confirms."""


def find_or_write_verified(folder: Path, made: Decision, root: Path) -> ResultFile:
    """Find the verified report of a result, or write it below `root`.

    folder: of the result. made: who confirmed it, when and for which organisation.

    Raises:
        DamagedResult: the result's report is gone or damaged.
        OSError: a file cannot be read or written just now.
    """
    verification = _verification(folder, made)
    place = root / folder.name / verification.name
    if not place.exists():
        publish(place.parent, place.name, {VERIFIED_FILE: encoded(folder, made)})
    return read_result_file(place / VERIFIED_FILE)


def encoded(folder: Path, made: Decision) -> bytes:
    """Return the bytes of the verified report. Raises as `find_or_write_verified`."""
    (report,) = result_files(folder, [REPORT])
    try:
        return encode(dcmread(report.path), _verification(folder, made))
    except (ValueError, AttributeError, KeyError) as error:
        raise DamagedResult(
            f"{report.path}: cannot be verified ({error}); `lumbar-node retry UID --force` makes the result again"
        ) from error


def _verification(folder: Path, made: Decision) -> Verification:
    return Verification(
        folder.name, made.by, made.organization, datetime.fromtimestamp(made.at, UTC).astimezone()
    )
