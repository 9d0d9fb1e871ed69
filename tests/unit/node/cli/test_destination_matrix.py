"""The matrix object × destination: readable at 80 columns without colour, and as JSON."""

from __future__ import annotations

import json

import pytest

from dicomseg.implementation import LABEL_MAP_STORAGE
from node.cli.destination_matrix import WIDTH, matrix_lines, result_json
from node.deliver.echo import EchoResult
from node.deliver.offers import NATIVE, SOP_CLASSES, Acceptance, Offer

EXPLICIT = str(NATIVE[0])
RLE = "1.2.840.10008.1.2.5"


def said(file: str, value: str, syntax: str = EXPLICIT, sop_class: str = "") -> Acceptance:
    offer = Offer(file, sop_class or str(SOP_CLASSES[file]), (RLE, EXPLICIT))  # type: ignore[index]
    return Acceptance(offer, value, syntax if value == "accepted" else "")  # type: ignore[arg-type]


PACS = EchoResult(
    "pacs", True, "answers",
    (said("seg.dcm", "refused"), said("midplane.dcm", "accepted"), said("surface.dcm", "refused")),
)  # fmt: skip
WEB = EchoResult(
    "web", True, "answers", (said("seg.dcm", "unknown"), said("midplane.dcm", "unknown"))
)
WEASIS = EchoResult(
    "weasis", True, "answers",
    (said("seg.dcm", "accepted", RLE, LABEL_MAP_STORAGE), said("midplane.dcm", "accepted", str(NATIVE[1]))),
)  # fmt: skip
DEAD = EchoResult("dead", False, "does not respond")


def test_rows_are_objects_and_columns_destinations() -> None:
    assert list(matrix_lines([PACS, WEB, WEASIS, DEAD])) == [
        "",
        "object        pacs      web        weasis",
        "seg.dcm       REFUSED   not known  label map, RLE",
        "midplane.dcm  explicit  not known  implicit",
        "surface.dcm   REFUSED   -          -",
        "",
        "explicit = Explicit VR Little Endian; implicit = Implicit VR Little Endian",
        "RLE = RLE Lossless",
        "not known = DICOMweb has no such question; the first delivery shows it",
        "- = not sent",
        "pacs: seg.dcm refused: enable Segmentation Storage on the PACS, or choose",
        '  profile = "images-only"',
        "pacs: surface.dcm refused: enable Encapsulated STL Storage on the PACS, or leave",
        "  surface.dcm out of objects",
    ]


def test_many_destinations_are_shown_in_parts_of_eighty_columns() -> None:
    names = [f"archive-number-{n}-of-the-long-names" for n in range(7)]
    results = [EchoResult(n, True, "", (said("seg.dcm", "accepted"),)) for n in names]
    lines = list(matrix_lines(results))
    assert max(len(line) for line in lines) <= WIDTH
    assert [line.startswith("object") for line in lines].count(True) == 4
    text = "\n".join(lines)
    assert all(f"{n[:23]}…" in text for n in names)


def test_without_an_answer_there_is_no_matrix() -> None:
    assert list(matrix_lines([DEAD])) == []
    assert list(matrix_lines([])) == []


def test_json_says_what_was_offered_accepted_and_what_to_do() -> None:
    content = json.loads(json.dumps(result_json(PACS)))
    assert (content["name"], content["answers"], content["text"]) == ("pacs", True, "answers")
    seg, plane, _ = content["objects"]
    assert (seg["file"], seg["class"], seg["accepted"]) == (
        "seg.dcm",
        "Segmentation Storage",
        False,
    )
    assert seg["offered"] == [RLE, EXPLICIT]
    assert seg["transfer_syntax"] is None
    assert seg["remedy"].startswith("enable Segmentation Storage")
    assert (plane["accepted"], plane["transfer_syntax"]) == (True, EXPLICIT)
    assert plane["remedy"] is None
    assert [o["accepted"] for o in result_json(WEB)["objects"]] == [None, None]


@pytest.mark.parametrize(
    ("result", "usable"), [(PACS, False), (WEB, True), (WEASIS, True), (DEAD, False)]
)
def test_a_refusal_makes_a_destination_unusable_a_question_that_cannot_be_asked_does_not(
    result: EchoResult, usable: bool
) -> None:
    assert result.usable is usable
