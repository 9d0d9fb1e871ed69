"""Every kind of destination gets what its profile says, and what it was asked for beforehand is what is sent."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.uid import (
    EncapsulatedSTLStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
    SegmentationStorage,
)

from dicomseg.implementation import LABEL_MAP_STORAGE
from node.config.destinations import (
    DestinationConfig,
    DicomDestination,
    DicomwebDestination,
    FolderDestination,
)
from node.config.profiles import PROFILES, ProfileName
from node.deliver.factory import build
from node.deliver.forms import base_name, prepare, sent_names
from node.deliver.offers import SOP_CLASSES, offers_for
from node.deliver.port import Destination, ResultFile
from tests.support.peers import Peer, pacs, web
from tests.support.sent_results import write_small_result

EVERY_CLASS = (*map(str, dict.fromkeys(SOP_CLASSES.values())), LABEL_MAP_STORAGE)
EVERY_SYNTAX = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, RLELossless)
KINDS = ("folder", "dicom", "dicomweb")
Made = tuple[DestinationConfig, Destination]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Callable[..., Made]]:
    """Make a destination of a kind and profile over a peer; servers end with the test."""
    with ExitStack() as stack:

        def _make(kind: str, peer: Peer, **keys: Any) -> Made:
            config: DestinationConfig
            if kind == "folder":
                config = FolderDestination(name="d", kind="folder", path=tmp_path / "to", **keys)
            elif kind == "dicom":
                port = stack.enter_context(pacs(peer))
                config = DicomDestination(
                    name="d", kind="dicom", ae_title="PACS", host="127.0.0.1", port=port, **keys
                )
            else:
                url = stack.enter_context(web(peer))
                config = DicomwebDestination(name="d", kind="dicomweb", url=url, **keys)
            return config, build(config, "NODE")

        yield _make


@pytest.fixture(scope="module")
def folder(studio: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_result(studio, tmp_path_factory.mktemp("results"))[0]


def prepared(config: DestinationConfig, folder: Path, outgoing: Path) -> tuple[ResultFile, ...]:
    sends = config.sends
    return prepare(folder, sent_names(folder, sends), outgoing, compress=sends.compress == "rle")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("syntaxes", [EVERY_SYNTAX, EVERY_SYNTAX[:2]], ids=["RLE", "plain"])
def test_objects_of_the_profile_arrive_in_its_form_and_their_own_uids_are_verified(
    make: Callable[..., Made], folder: Path, tmp_path: Path, kind: str, profile: ProfileName, syntaxes: Any
) -> None:  # fmt: skip
    peer = Peer(classes=EVERY_CLASS, syntaxes=syntaxes)
    config, destination = make(kind, peer, profile=profile)
    files = prepared(config, folder, tmp_path / "out")
    outcomes = destination.send(files)
    assert [(base_name(o.file), o.disposition) for o in outcomes] == [
        (file, "accepted") for file in PROFILES[profile].objects
    ]
    assert destination.verify_stored(files).value == "stored"
    if kind == "folder":
        names = {p.name for p in (tmp_path / "to" / folder.name).iterdir()}
        assert names == {f.name for f in files}
        return
    assert set(peer.held) == {f.sop_instance for f in files}
    takes_rle = RLELossless in syntaxes
    expected = {(f.sop_class, (f if takes_rle else f.plain or f).transfer_syntax) for f in files}
    assert set(peer.got) == expected
    assert (LABEL_MAP_STORAGE in {c for c, _ in peer.got}) == (profile == "weasis")


@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("syntaxes", [EVERY_SYNTAX, EVERY_SYNTAX[:2]], ids=["RLE", "plain"])
def test_a_pacs_gets_what_it_accepted_when_it_was_asked(
    make: Callable[..., Made], folder: Path, tmp_path: Path, profile: ProfileName, syntaxes: Any
) -> None:
    peer = Peer(classes=EVERY_CLASS, syntaxes=syntaxes)
    config, destination = make("dicom", peer, profile=profile)
    said = destination.echo(offers_for(config)).objects
    assert {o.value for o in said} == {"accepted"}
    assert peer.got == []
    destination.send(prepared(config, folder, tmp_path / "out"))
    assert {o.offer.sop_class for o in said} == {sop_class for sop_class, _ in peer.got}
    for one in said:
        if one.offer.file != "seg.dcm" or config.sends.seg_form == "labelmap":
            assert (one.offer.sop_class, one.syntax) in peer.got


@pytest.mark.parametrize("kind", ["dicom", "dicomweb"])
@pytest.mark.parametrize(
    ("refused", "profile", "file"),
    [
        (SegmentationStorage, "dicom-viewer", "seg.dcm"),
        (EncapsulatedSTLStorage, "dicom-viewer", "surface.dcm"),
        (LABEL_MAP_STORAGE, "weasis", "seg.labelmap.dcm"),
    ],
)
def test_where_one_object_is_refused_the_others_arrive(
    make: Callable[..., Made], folder: Path, tmp_path: Path, kind: str, refused: str, profile: Any, file: str
) -> None:  # fmt: skip
    classes = tuple(c for c in EVERY_CLASS if c != refused)
    peer = Peer(classes=classes, syntaxes=EVERY_SYNTAX)
    config, destination = make(kind, peer, profile=profile)
    outcomes = destination.send(prepared(config, folder, tmp_path / "out"))
    assert [o.file for o in outcomes if o.disposition == "permanent"] == [file]
    assert {o.disposition for o in outcomes if o.file != file} == {"accepted"}
    said = {o.offer.file: o for o in destination.echo(offers_for(config)).objects}
    if kind == "dicom":
        assert said[base_name(file)].value == "refused"
        (text,) = (o.text for o in outcomes if o.file == file)
        assert text.endswith(said[base_name(file)].remedy)
    else:
        assert {o.value for o in said.values()} == {"unknown"}


def test_what_a_pacs_keeps_of_a_compressed_object_are_the_voxels_of_the_result(
    make: Callable[..., Made], folder: Path, tmp_path: Path
) -> None:
    peer = Peer(classes=EVERY_CLASS, syntaxes=EVERY_SYNTAX)
    config, destination = make("dicomweb", peer, profile="weasis")
    files = prepared(config, folder, tmp_path / "out")
    destination.send(files)
    by_uid = {f.sop_instance: f for f in files}
    for uid, content in peer.held.items():
        (tmp_path / "got.dcm").write_bytes(content)
        got, sent = dcmread(tmp_path / "got.dcm"), by_uid[uid].plain
        if sent is not None:
            assert (got.pixel_array == dcmread(sent.path).pixel_array).all()
