"""The follow-up of the synthetic result of `conformance_example` and an earlier one, in the same variants."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from pydicom.dataset import Dataset

from dicomseg.compare.change import compare, readings
from dicomseg.compare.comparison import ComparedStep, ComparedStudy, Comparison
from dicomseg.draw.drawing import Drawing
from dicomseg.draw.languages import FOLLOWUP_TEXTS
from dicomseg.encode import followup_sr
from dicomseg.encode.context import EncodeInput, carrier, own_text
from dicomseg.encode.followup_base import FollowUpInput
from dicomseg.encode.followup_folder import PAGE, PDF, REPORT, document, picture
from dicomseg.encode.result_json import to_json
from dicomseg.encode.sanitise import headers_from
from dicomseg.encode.uids import ResultKey

FOLLOWUPS: Final = (REPORT, PAGE, PDF)
_DAYS: Final = 365


def followup_objects(
    given: EncodeInput, files: Mapping[str, Dataset], drawing: Drawing
) -> dict[str, Dataset]:
    """Encode a follow-up of a result. files: its objects as a reader has them."""
    newest = readings(to_json(given.result))
    earlier = {
        name: r if r.value is None else replace(r, value=0.9 * r.value)
        for name, r in newest.items()
    }
    study = given.source.grid.instances[0].study_uid
    studies = tuple(
        ComparedStudy(
            uid, "1.2.3", key, when, "scanner", given.segmentation.engine.name, "L4/L5", values
        )
        for uid, key, when, values in (
            (f"{study}.1", "1" * 32, "2029-01-01", earlier),
            (study, given.key.result_id, "2030-01-01", newest),
        )
    )
    changes = {name: compare(earlier[name], newest[name]) for name in newest}
    step = ComparedStep(0, _DAYS, ("other_scanner",), changes)
    inputs = FollowUpInput(
        comparison=Comparison(studies, (step,)),
        key=ResultKey(given.key.result_id[::-1]),
        headers=headers_from(files["midplane.dcm"], own_text(given.identity)),
        newest=files["midplane.dcm"],
        sources=[_reports(s, files) for s in studies],
        identity=given.identity,
        created=given.created,
        predecessor=given.predecessor,
    )
    title = FOLLOWUP_TEXTS["en"].title
    return {
        REPORT: followup_sr.encode(inputs),
        PAGE: picture(inputs, drawing.rgb),
        PDF: document(inputs, drawing.pdf, title),
    }


def _reports(study: ComparedStudy, files: Mapping[str, Dataset]) -> dict[str, Dataset]:
    uids = ResultKey(study.result)
    return {
        name: carrier(
            study.study,
            uids.uid(f"{name.removesuffix('.dcm')}.series"),
            str(files[name].SOPClassUID),
            uids.uid(f"{name.removesuffix('.dcm')}.instance"),
        )
        for name in ("measurements.dcm", "volumes.dcm")
    }
