"""The files that people look at, beside the objects that programs read: what is drawn, and its objects."""

from __future__ import annotations

from datetime import datetime
from io import BytesIO
from typing import Final

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from dicomseg.draw.drawing import Drawing, Reading, Scene, draw_pictures, draw_surfaces
from dicomseg.draw.heading import Heading
from dicomseg.encode import pdf, secondary_capture, stl
from dicomseg.encode.context import EncodeInput, new_object, to_bytes
from dicomseg.encode.midplane_image import plane_to_show

_DATE_LENGTH: Final = 8


def encode_pictures(inputs: EncodeInput, language: str = "en") -> dict[str, bytes]:
    """Draw and encode the page, as picture and PDF, and the surfaces.

    language: a key of `dicomseg.draw.languages.LANGUAGES`. Returns bytes by file name: `summary.dcm`, `report.dcm`,
    `surface.dcm`, and in the folder `surfaces` one STL per segment and `all.glb`. The same input gives the same bytes.
    A segmentation too small for any surface has no `surface.dcm`.
    """
    scene = Scene(inputs.source.volume, inputs.segmentation)
    drawing = draw_pictures(scene, reading(inputs, language), draw_surfaces(scene))
    objects = {name: to_bytes(ds) for name, ds in encode_drawing(inputs, drawing).items()}
    return {**objects, **drawing.surfaces}


def encode_drawing(inputs: EncodeInput, drawing: Drawing) -> dict[str, Dataset]:
    """Encode what was drawn, as objects by file name."""
    objects = {
        "summary.dcm": secondary_capture.encode(inputs, drawing.rgb),
        "report.dcm": pdf.encode(inputs, drawing.pdf, drawing.title),
    }
    if drawing.stl:
        objects["surface.dcm"] = stl.encode(inputs, drawing.stl)
    return objects


def reading(inputs: EncodeInput, language: str) -> Reading:
    """Return what is written on the page of a result."""
    shown = plane_to_show(inputs.result.measurements.plane, inputs.result.level)
    return Reading(inputs.result, shown, heading(inputs), language)


def heading(inputs: EncodeInput) -> Heading:
    """Return who and what the page is about, from the cleaned headers."""

    identity, engine = _identity(inputs), inputs.segmentation.engine
    software = f"{inputs.identity.model_name} {inputs.identity.software_version}"
    model = f"{engine.name} {engine.version} ({engine.digest[:12]})"
    return Heading(
        names=spellings(identity),
        patient_id=inputs.headers.patient_id,
        born=iso_date(identity, "PatientBirthDate"),
        study_date=iso_date(identity, "StudyDate"),
        description=inputs.result.source.description,
        model=f"{model} · {engine.engine} {engine.precision} · {software}",
        created=inputs.local_time.strftime("%Y-%m-%d %H:%M %Z").strip(),
    )


def _identity(inputs: EncodeInput) -> Dataset:
    """Patient and study as a reader of an object has them: what the source wrote, decoded by its character set."""
    ds = new_object(inputs, SecondaryCaptureImageStorage, "summary", "OT", 1, "")
    return dcmread(BytesIO(to_bytes(ds)))


def spellings(identity: Dataset) -> tuple[str, ...]:
    """Return the spellings of the patient's name, alphabetic first, as they are read by people."""
    name = identity.get("PatientName")
    groups = str(name or "").split("=")
    return tuple(" ".join(part for part in group.split("^") if part) for group in groups)


def iso_date(identity: Dataset, keyword: str) -> str:
    """Return a date as ISO 8601, "" where there is none."""
    text = str(identity.get(keyword) or "")
    if len(text) != _DATE_LENGTH or not text.isdigit():
        return ""
    return datetime.strptime(text, "%Y%m%d").date().isoformat()  # noqa: DTZ007 - a date has no zone
