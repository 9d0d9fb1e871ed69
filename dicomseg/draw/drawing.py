"""`draw_pictures`: everything that is drawn of one result, from plain data that another process can be given."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Final

from dicomseg.draw.beside import Beside, later
from dicomseg.draw.heading import Heading
from dicomseg.result import Plane, Result
from dicomseg.segmentation import Segmentation
from dicomseg.structures import SEGMENTS
from dicomseg.volume import Array, Volume

if TYPE_CHECKING:
    from dicomseg.draw.surface import Mesh

SURFACES: Final = "surfaces"
"""Folder of the files for other programs: one STL per segment, and all of them in colour."""
_SUFFIXES: Final = MappingProxyType({None: "", "left": "_left", "right": "_right"})


@dataclass(frozen=True, slots=True, eq=False)
class Scene:
    """What of a series can be drawn before it is measured. volume: grey values of the source."""

    volume: Volume
    segmentation: Segmentation


@dataclass(frozen=True, slots=True, eq=False)
class Reading:
    """What was measured and is written on the page.

    shown: the measured plane, or the one to show where none was determined. language: a key of
    `dicomseg.draw.languages.LANGUAGES`.
    """

    result: Result
    shown: Plane
    heading: Heading
    language: str


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


# matplotlib takes half a second to import, and nothing else of the service needs it
# ruff: noqa: PLC0415


def draw_surfaces(scene: Scene) -> Mapping[int, Mesh]:
    """Build the surfaces of every segment that is large enough, by its number."""
    from dicomseg.draw.surface import build_surfaces

    return build_surfaces(scene.segmentation.sides)


def draw_pictures(
    scene: Scene, reading: Reading, meshes: Mapping[int, Mesh], beside: Beside = later
) -> Drawing:
    """Draw the page, and write the surfaces as files; the same input gives the same bytes.

    meshes: those of `draw_surfaces`. beside: where parts of the page are worked out.
    """
    from dicomseg.draw.languages import LANGUAGES
    from dicomseg.draw.page import PageInput, draw_page
    from dicomseg.draw.solid_files import glb_bytes, stl_bytes

    texts = LANGUAGES[reading.language]
    page = draw_page(
        PageInput(
            scene.volume,
            scene.segmentation,
            reading.result,
            reading.shown,
            meshes,
            reading.heading,
            texts,
        ),
        beside,
    )
    if not meshes:
        return Drawing(page.rgb, page.pdf, texts.title, b"", {})
    surfaces: dict[str, bytes] = {}
    for segment in SEGMENTS:
        if segment.number in meshes:
            name = f"{SURFACES}/{segment.structure.id}{_SUFFIXES[segment.side]}.stl"
            surfaces[name] = stl_bytes([meshes[segment.number]])
    surfaces[f"{SURFACES}/all.glb"] = glb_bytes(meshes)
    return Drawing(page.rgb, page.pdf, texts.title, stl_bytes(list(meshes.values())), surfaces)
