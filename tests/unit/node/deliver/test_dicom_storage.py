from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from pydicom.uid import (
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    RLELossless,
    SegmentationStorage,
)

from node.deliver import dicom_storage
from node.deliver.dicom_storage import store
from node.deliver.port import ResultFile

MARKED = "Doe^Jane"


class Peer:
    """An association with one accepted context, on which sending fails with the words of a library."""

    is_established = True

    def __init__(self, syntax: str) -> None:
        self.accepted_contexts = [
            SimpleNamespace(abstract_syntax=SegmentationStorage, transfer_syntax=[syntax])
        ]
        self.sends = 0

    def send_c_store(self, *_: Any, **__: Any) -> None:
        self.sends += 1
        raise ValueError(f"cannot encode (0010,0010) {MARKED}")


@pytest.mark.parametrize(
    ("sent", "accepted", "sends", "words"),
    [
        (RLELossless, JPEG2000Lossless, 0, "but not in the transfer syntax RLE"),
        (ExplicitVRLittleEndian, RLELossless, 0, "but not in the transfer syntax explicit"),
        (ExplicitVRLittleEndian, ImplicitVRLittleEndian, 1, "cannot be encoded"),
        (RLELossless, RLELossless, 1, "cannot be encoded"),
    ],
)
def test_object_that_cannot_be_sent_says_why_and_what_to_do_in_our_own_words(
    sent: str, accepted: str, sends: int, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dicom_storage, "dcmread", lambda _: None)
    peer: Any = Peer(accepted)
    file = ResultFile(Path("seg.dcm"), "", SegmentationStorage, "2.25.1", transfer_syntax=sent)
    outcome = store(peer, file, 1, "PACS@host:104")
    assert (outcome.disposition, outcome.status) == ("permanent", "no context")
    assert words in outcome.text
    assert "PACS@host:104" in outcome.text
    assert "enable Explicit VR Little Endian on the PACS" in outcome.text
    assert MARKED not in outcome.text
    assert peer.sends == sends
