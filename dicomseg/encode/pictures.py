"""The files that people look at, beside the objects that programs read: drawn, then encoded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from io import BytesIO
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import SecondaryCaptureImageStorage

from dicomseg.encode import pdf, secondary_capture, stl
from dicomseg.encode.context import EncodeInput, new_object, to_bytes
from dicomseg.encode.midplane_image import plane_to_show
from dicomseg.structures import SEGMENTS
from dicomseg.volume import Array

if TYPE_CHECKING:
    from dicomseg.draw.page import Heading, Page
    from dicomseg.draw.surface import Mesh

SURFACES: Final = "surfaces"
"""Folder of the files for other programs: one STL per segment, and all of them in colour."""
_DATE_LENGTH: Final = 8


@dataclass(frozen=True, slots=True, eq=False)
class Drawing:
    """What was drawn of a result, before it is encoded.

    rgb: the page, uint8 (rows, columns, 3). pdf, title: the same page as document. stl: every surface in one file,
    empty where the segmentation is too small for any. surfaces: files of the folder `surfaces`, by name.
    """

    rgb: Array
    pdf: bytes
    title: str
    stl: bytes
    surfaces: Mapping[str, bytes]


def encode_pictures(inputs: EncodeInput, language: str = "en") -> dict[str, bytes]:
    """Draw and encode the page, as picture and PDF, and the surfaces.

    language: a key of `dicomseg.draw.languages.LANGUAGES`. Returns bytes by file name: `summary.dcm`, `report.dcm`,
    `surface.dcm`, and in the folder `surfaces` one STL per segment and `all.glb`. The same input gives the same bytes.
    A segmentation too small for any surface has no `surface.dcm`.
    """
    drawing = draw_pictures(inputs, language)
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


def draw_pictures(inputs: EncodeInput, language: str = "en") -> Drawing:
    """Draw the page and the surfaces. language: a key of `dicomseg.draw.languages.LANGUAGES`."""
    # matplotlib takes half a second to import, and nothing else of the service needs it
    from dicomseg.draw.solid_files import glb_bytes, stl_bytes  # noqa: PLC0415 - only when drawn
    from dicomseg.draw.surface import build_surfaces  # noqa: PLC0415 - only when drawn

    meshes = build_surfaces(inputs.segmentation.sides)
    page, title = draw(inputs, meshes, language)
    if not meshes:
        return Drawing(page.rgb, page.pdf, title, b"", {})
    surfaces: dict[str, bytes] = {}
    for segment in SEGMENTS:
        if segment.number in meshes:
            name = f"{SURFACES}/{segment.structure.id}{_SUFFIXES[segment.side]}.stl"
            surfaces[name] = stl_bytes([meshes[segment.number]])
    surfaces[f"{SURFACES}/all.glb"] = glb_bytes(meshes)
    return Drawing(page.rgb, page.pdf, title, stl_bytes(list(meshes.values())), surfaces)


_SUFFIXES: Final = MappingProxyType({None: "", "left": "_left", "right": "_right"})


def draw(inputs: EncodeInput, meshes: Mapping[int, Mesh], language: str = "en") -> tuple[Page, str]:
    """Draw the page of a result; returns it with its title in that language."""
    from dicomseg.draw.languages import LANGUAGES as TABLES  # noqa: PLC0415 - only when drawn
    from dicomseg.draw.page import PageInput, draw_page  # noqa: PLC0415 - only when drawn

    shown = plane_to_show(inputs.result.measurements.plane, inputs.result.level)
    texts = TABLES[language]
    page = PageInput(
        inputs.source.volume,
        inputs.segmentation,
        inputs.result,
        shown,
        meshes,
        heading(inputs),
        texts,
    )
    return draw_page(page), texts.title


def heading(inputs: EncodeInput) -> Heading:
    """Return who and what the page is about, from the cleaned headers."""
    from dicomseg.draw.page import Heading  # noqa: PLC0415 - only when drawn

    identity, engine = _identity(inputs), inputs.segmentation.engine
    software = f"{inputs.identity.model_name} {inputs.identity.software_version}"
    model = f"{engine.name} {engine.version} ({engine.digest[:12]})"
    return Heading(
        names=_spellings(identity),
        patient_id=inputs.headers.patient_id,
        born=_date(identity, "PatientBirthDate"),
        study_date=_date(identity, "StudyDate"),
        description=inputs.result.source.description,
        model=f"{model} · {engine.engine} {engine.precision} · {software}",
        created=inputs.local_time.strftime("%Y-%m-%d %H:%M %Z").strip(),
    )


def _identity(inputs: EncodeInput) -> Dataset:
    """Patient and study as a reader of an object has them: what the source wrote, decoded by its character set."""
    ds = new_object(inputs, SecondaryCaptureImageStorage, "summary", "OT", 1, "")
    return dcmread(BytesIO(to_bytes(ds)))


def _spellings(identity: Dataset) -> tuple[str, ...]:
    """Spellings of the patient's name, alphabetic first, as they are read by people."""
    name = identity.get("PatientName")
    groups = str(name or "").split("=")
    return tuple(" ".join(part for part in group.split("^") if part) for group in groups)


def _date(identity: Dataset, keyword: str) -> str:
    """A date as ISO 8601, "" where there is none."""
    text = str(identity.get(keyword) or "")
    if len(text) != _DATE_LENGTH or not text.isdigit():
        return ""
    return datetime.strptime(text, "%Y%m%d").date().isoformat()  # noqa: DTZ007 - a date has no zone
