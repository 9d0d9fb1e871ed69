"""What a peer is asked: exactly what it will be sent."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless

from node.config.destinations import FolderDestination
from node.config.profiles import PROFILES, ProfileName
from node.deliver.forms import prepare, sent_names
from node.deliver.offers import (
    LABEL_MAP_STORAGE,
    NOTE,
    SOP_CLASSES,
    Acceptance,
    Offer,
    class_name,
    offers_for,
    remedy,
    syntax_title,
)
from tests.support.sent_results import write_small_result


def destination(**keys: Any) -> FolderDestination:
    return FolderDestination(name="f", kind="folder", path=Path("/x"), **keys)


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("matrix", [(24, 40), (23, 41)], ids=str)
@pytest.mark.parametrize("seg_form", ["", "binary", "fractional", "labelmap"])
def test_offers_are_the_classes_and_syntaxes_of_the_files_that_are_sent(
    studio: Any, tmp_path: Path, profile: ProfileName, matrix: tuple[int, int], seg_form: Any
) -> None:
    folder, _ = write_small_result(studio, tmp_path / "r", rows=matrix[0], columns=matrix[1])
    config = destination(profile=profile, seg_form=seg_form)
    sends = config.sends
    files = prepare(
        folder, sent_names(folder, sends), tmp_path / "out", compress=sends.compress == "rle"
    )
    offers = offers_for(config)
    assert [o.sop_class for o in offers] == [f.sop_class for f in files]
    for offer, file in zip(offers, files, strict=True):
        assert file.transfer_syntax in offer.syntaxes
        assert (file.plain or file).transfer_syntax in offer.syntaxes
        if RLELossless in offer.syntaxes and offer.file != "seg.dcm":
            assert file.transfer_syntax == RLELossless == offer.syntaxes[0]


def test_a_note_is_offered_where_results_are_withdrawn() -> None:
    assert [o.file for o in offers_for(destination(withdraw=True))][-1] == NOTE
    assert NOTE not in {o.file for o in offers_for(destination())}


def test_every_class_has_a_name_and_a_remedy_of_its_own() -> None:
    label_map = class_name(LABEL_MAP_STORAGE)
    assert label_map == f"Label Map Segmentation Storage ({LABEL_MAP_STORAGE})"
    assert remedy(LABEL_MAP_STORAGE).endswith('or set seg_form = "default"')
    assert remedy(SOP_CLASSES["seg.dcm"]) == (
        'enable Segmentation Storage on the PACS, or choose profile = "images-only"'
    )
    assert remedy(SOP_CLASSES["report.dcm"]).endswith("or leave report.dcm out of objects")
    for sop_class in SOP_CLASSES.values():
        assert class_name(sop_class) != sop_class


def test_only_a_refusal_has_a_remedy() -> None:
    offer = Offer("seg.dcm", LABEL_MAP_STORAGE, ())
    assert Acceptance(offer, "accepted").remedy == Acceptance(offer, "unknown").remedy == ""
    assert Acceptance(offer, "refused").remedy == remedy(LABEL_MAP_STORAGE)


def test_syntaxes_have_short_names() -> None:
    syntaxes = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless)
    assert [syntax_title(s) for s in syntaxes] == ["explicit", "implicit", "RLE"]
    assert syntax_title("1.2.840.10008.1.2.4.90") == "JPEG 2000 Image Compression (Lossless Only)"
