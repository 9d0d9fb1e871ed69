"""The process that makes a follow-up, run as `python -m node.followup.make_process`: it draws, encodes and publishes.

A question is an `Order` as JSON; the answer is `{"made": files}`, `{"refused": why}` or `{"errno": number}`.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from pydicom import dcmread
from pydicom.dataset import Dataset

from dicomseg.encode.context import carrier, own_text
from dicomseg.encode.followup_base import FollowUpInput
from dicomseg.encode.followup_folder import encode_followup
from dicomseg.encode.sanitise import headers_from
from dicomseg.encode.uids import Identity, ResultKey
from node.durable import publish
from node.faults import describe_error
from node.followup.order import Order
from node.followup.plan import compare_visits
from node.journal.results import CurrentResult
from node.journal.rows import ResultRow, SeriesKey
from node.observe.followup import Visit, read_visit
from node.observe.identity import read_examined
from node.sandbox.answers import answer_questions

MOST_BYTES: Final = 4_000_000_000
"""Address space, with the libraries that draw."""
HEADER: Final = "midplane.dcm"
"""The object of a result whose patient and study its follow-up carries: an image, so that requests are in its series."""
REPORTS: Final = ("measurements.dcm", "volumes.dcm")
_UIDS: Final = ["SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID"]


class _Refused(Exception):
    """Results that must not be compared; the text says why."""


def answer(question: Any) -> object:
    """Make one follow-up; what a file does to its reader is an answer too."""
    try:
        return {"made": make(Order(**question))}
    except OSError as error:
        return {"errno": error.errno or 0}
    except _Refused as refusal:
        return {"refused": str(refusal)}
    except Exception as error:  # noqa: BLE001 - a damaged result holds anything
        return {"refused": describe_error(error)}


def make(order: Order) -> list[str]:
    """Compare, draw, encode and publish; returns the names of the objects. The folder that is there stays as it is."""
    visits = [_visit(named) for named in order.results]
    newest = dcmread(Path(order.results[-1]["folder"]) / HEADER, stop_before_pixels=True)
    identity = Identity(**order.identity)
    inputs = FollowUpInput(
        comparison=compare_visits(visits),
        key=ResultKey(order.result_id),
        headers=headers_from(newest, own_text(identity)),
        newest=newest,
        sources=[_sources(named) for named in order.results],
        identity=identity,
        created=datetime.fromisoformat(order.created),
        predecessor=ResultKey(order.predecessor) if order.predecessor else None,
    )
    files = encode_followup(inputs, order.language)
    publish(Path(order.root), order.result_id, files)
    return [name for name in files if name.endswith(".dcm")]


def _visit(named: Mapping[str, str]) -> Visit:
    """Read one result, and check that its objects and its images are of one patient."""
    folder, file = Path(named["folder"]), Path(named["file"])
    row = ResultRow(named["result"], folder, "")
    examined = read_examined(file)
    written = read_examined(folder / HEADER)
    if examined.patient is None or written.patient != examined.patient:
        raise _Refused("the objects of a result name another patient than its images")
    current = CurrentResult(SeriesKey(named["study"], named["series"]), row, file)
    visit = read_visit(current, examined)
    if visit is None:
        raise _Refused("the result.json of a study cannot be read")
    return visit


def _sources(named: Mapping[str, str]) -> dict[str, Dataset]:
    """The reports of a result, as an object refers to them."""
    folder, found = Path(named["folder"]), dict[str, Dataset]()
    for name in REPORTS:
        ds = dcmread(folder / name, stop_before_pixels=True, specific_tags=list(_UIDS))
        uids = (str(ds[keyword].value) for keyword in ("SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID"))  # fmt: skip
        found[name] = carrier(named["study"], *uids)
    return found


def main() -> None:
    """Answer until the service is gone."""
    answer_questions(answer, MOST_BYTES)


if __name__ == "__main__":
    main()
