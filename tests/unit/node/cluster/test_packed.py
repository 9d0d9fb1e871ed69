from __future__ import annotations

import pickle

from dicomseg.volume import Volume
from node.cluster.packed import pack
from tests.support.machines import FRAME, assert_same, image, segmented


def test_every_bit_comes_back() -> None:
    found = segmented(image(5))
    assert_same(pickle.loads(pickle.dumps(pack(found))).unpacked(FRAME), found)  # noqa: S301


def test_no_uid_travels() -> None:
    volume = image(5)
    sent = Volume(volume.array, volume.affine)
    assert FRAME.encode() not in pickle.dumps(pack(segmented(volume)))
    assert_same(pack(segmented(sent)).unpacked(FRAME), segmented(volume))
