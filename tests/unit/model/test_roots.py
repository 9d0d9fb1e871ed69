"""The roots network: where it looks, what its answer does to labels and scores, what a bundle holds of it."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from dicomseg.segmentation import Level, Segmentation
from dicomseg.structures import CHANNELS
from dicomseg.volume import AXIAL, Volume, build_affine
from model.bundle.card import CARD as CARD_FILE
from model.bundle.card import ROOTS_WEIGHTS, digest_of, read_card
from model.bundle.load import load_bundle
from model.bundle.write import write_bundle, write_coded_bundle
from model.engines.coded import encode_labels
from model.errors import BundleError, EngineFailed
from model.grid import SPACING_MM
from model.networks.coordinates import COORDINATE_UNIT_MM
from model.networks.deeplab import Architecture, DeepLabV3Plus3D
from model.networks.level_unet import LevelArchitecture, LevelNet
from model.networks.roots_unet import RootsNet
from model.networks.sizes import RootsArchitecture
from model.patch import FineLogit, Patch, Prediction
from model.roots import MAX_LOGIT, ROOTS, RootsRefiner, box_about, disc_middle, scores_with_roots
from model.segment import segment
from model.window import Window

TINY = RootsArchitecture(width=4, deep=(4, 8, 8))
SHAPE = (128, 80, 160)
CENTRE = (64.0, 30.0, 80.0)


class Bright(RootsNet):
    """Says root where the image is above 1, by as much."""

    def __init__(self, factor: float = 1.0) -> None:
        super().__init__(TINY)
        self.factor = factor

    def forward(self, image: Tensor, guidance: Tensor) -> Tensor:
        assert guidance.shape[1:] == (CHANNELS, *(n // 2 for n in image.shape[2:]))
        assert torch.allclose(guidance.sum(1), torch.ones(()))
        return (image - 1.0) * self.factor


def finder(network: RootsNet) -> RootsRefiner:
    def answer(image: np.ndarray, probabilities: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return network(torch.from_numpy(image), torch.from_numpy(probabilities)).numpy()

    return RootsRefiner(answer, network.architecture)


def patch_of(values: np.ndarray, centre: tuple[float, float, float] | None = CENTRE) -> Patch:
    affine = build_affine(AXIAL, SPACING_MM, (0.0, 0.0, 0.0))
    return Patch(values, np.ones(values.shape, bool), affine, 0.0, 1.0, centre)


def rods(shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    """A bright rod on each side of the level, 30 mm apart."""
    values = np.zeros(shape, np.float32)
    values[50:90, 36:42, 58:64] = 5.0
    values[50:90, 36:42, 98:104] = 5.0
    return values


def flat(shape: tuple[int, int, int] = SHAPE) -> np.ndarray:
    return np.zeros((CHANNELS, *(n // 2 for n in shape)), np.float32)


@pytest.mark.parametrize("centre", [(64.0, 30.0, 80.0), (3.2, 77.9, 11.5), (127.0, 0.0, 159.0)])
def test_the_box_lies_in_the_image_on_whole_coarse_voxels(
    centre: tuple[float, float, float],
) -> None:
    box = box_about(SHAPE, np.array(centre))
    for side, size in zip(box, SHAPE, strict=True):
        assert 0 <= side.start <= side.stop <= size
        assert side.start % 2 == 0
        assert (side.stop - side.start) % 8 == 0


def test_the_box_holds_the_roots_of_every_phantom_with_two_voxels_to_spare() -> None:
    """Their extent, -34…55, 3…38 and -60…61 voxels, was measured on 164 phantoms."""
    for middle in (100.0, 100.6, 101.3):
        box = box_about((200, 200, 200), np.array([middle] * 3))
        for side, low, high in zip(box, (-34, 3, -60), (55, 38, 61), strict=True):
            assert side.start <= middle + low - 2
            assert side.stop - 1 >= middle + high + 0.5


def test_the_box_goes_by_the_disc_that_was_drawn_or_by_the_level_without_one() -> None:
    level = np.array(CENTRE)
    logits = flat()
    np.testing.assert_array_equal(disc_middle(logits, level), level)
    logits[2, 34:38, 10:20, 40:50] = 1.0
    np.testing.assert_allclose(disc_middle(logits, level), [71.5, 29.5, 89.5])


def test_what_is_bright_in_the_box_is_a_root_and_nothing_is_one_outside() -> None:
    values = rods()
    values[0:4] = 5.0
    answer = finder(Bright()).logits(patch_of(values), flat())
    assert answer.dtype == np.float32
    np.testing.assert_array_equal(answer > 0, rods() > 0)
    assert answer.max() == 4.0
    assert (answer[0:4] == -MAX_LOGIT).all()


def test_no_root_where_the_source_holds_no_data() -> None:
    patch = patch_of(rods())
    patch.valid[60:70] = False
    found = finder(Bright()).logits(patch, flat()) > 0
    assert not found[60:70].any()
    assert found[50:60].any()
    assert found[70:90].any()


def test_a_speck_is_no_root() -> None:
    values = rods()
    values[55:57, 45:47, 80:82] = 5.0
    answer = finder(Bright()).logits(patch_of(values), flat())
    assert (answer[55:57, 45:47, 80:82] <= -1.0).all()
    np.testing.assert_array_equal(answer > 0, rods() > 0)


@pytest.mark.parametrize(("length", "stays"), [(6, False), (12, True)])
def test_a_piece_of_another_root_goes_and_half_of_a_broken_one_stays(
    length: int, stays: bool
) -> None:
    """A rod is 40 voxels long; the piece is as thick, of 15 or 30 % of its size."""
    values = rods()
    piece = (slice(100, 100 + length), slice(50, 56), slice(58, 64))
    values[piece] = 5.0
    found = finder(Bright()).logits(patch_of(values), flat()) > 0
    assert found[piece].all() == stays
    assert found[piece].any() == stays
    np.testing.assert_array_equal(found[50:90], rods()[50:90] > 0)


class Above(RootsNet):
    """Says root from 8 mm above the middle of the disc on, and to the left of it; reads nothing but its places."""

    def __init__(self) -> None:
        super().__init__(replace(TINY, places=True))

    def forward(self, image: Tensor, guidance: Tensor) -> Tensor:
        assert guidance.shape[1:] == (CHANNELS + 3, *(n // 2 for n in image.shape[2:]))
        up, _, left = guidance[:, CHANNELS:].unbind(1)
        where = (up > 8.0 / COORDINATE_UNIT_MM) & (left > 0)
        fine = torch.nn.functional.interpolate(where[:, None].float(), scale_factor=2.0)
        return fine * 10 - 5


@pytest.mark.parametrize("centre", [CENTRE, (60.0, 26.0, 9.0)])
def test_places_are_told_from_the_middle_of_the_disc_that_was_drawn(
    centre: tuple[float, float, float],
) -> None:
    """The disc lies elsewhere than the level; the second level is near the border, so that the box is cut short."""
    logits = flat()
    at = np.array(centre) // 2
    i, j, k = (slice(int(a) - 4, int(a) + 4) for a in at + np.array([3, 0, 0]))
    logits[2, i, j, k] = 1.0
    middle = np.array([(s.start + s.stop) - 0.5 for s in (i, j, k)])
    answer = finder(Above()).logits(patch_of(rods(), centre), logits)
    np.testing.assert_allclose(disc_middle(logits, np.array(centre)), middle)
    where = np.argwhere(answer > 0)
    assert where[:, 0].min() == np.ceil(middle[0] + 8.0 / 0.8)
    assert where[:, 2].min() == np.ceil(middle[2])


def test_an_answer_that_is_not_finite_is_refused() -> None:
    with pytest.raises(EngineFailed, match="not finite"):
        finder(Bright(float("nan"))).logits(patch_of(rods()), flat())


def test_a_window_too_thin_for_the_network_has_no_roots() -> None:
    values = np.full((128, 80, 4), 5.0, np.float32)
    answer = finder(Bright()).logits(patch_of(values, None), flat((128, 80, 4)))
    assert (answer == -MAX_LOGIT).all()


def test_a_root_leads_the_scores_by_its_own_logit() -> None:
    logits = np.random.default_rng(3).normal(size=flat().shape).astype(np.float32)
    before = logits.copy()
    patch = patch_of(rods())
    answer = finder(Bright()).logits(patch, logits)
    refined = scores_with_roots(patch, logits, answer).logits
    others = np.delete(refined, ROOTS, axis=0)
    np.testing.assert_array_equal(others, np.delete(before, ROOTS, axis=0))
    np.testing.assert_allclose((refined[ROOTS] - others.max(0))[30, 19, 30], 4.0, atol=1e-5)
    np.testing.assert_array_equal(refined.argmax(0) == ROOTS, rods()[::2, ::2, ::2] > 0)
    np.testing.assert_array_equal(logits, before)


@pytest.mark.parametrize("spacing", [SPACING_MM, (0.9, 0.85, 0.8)])
def test_the_roots_logit_alone_decides_what_is_a_root_in_the_source(
    spacing: tuple[float, float, float],
) -> None:
    source = Volume(rods((120, 80, 160)), build_affine(AXIAL, spacing, (5.0, -7.0, 11.0)))
    x, y, z = (float(v) for v in source.to_patient(np.array(CENTRE)))
    window = Window.at(source, Level((x, y, z), (0.0, 0.0, 1.0), 1.0))
    patch = window.cut()
    logits = np.zeros((CHANNELS, *(n // 2 for n in patch.values.shape)), np.float32)
    logits[ROOTS] = 9.0  # the segmentation network calls everything a root
    logits[4] = 1.0
    fine = np.where(patch.raw() > 2.5, 3.0, -3.0).astype(np.float32)
    scores = patch.scores(logits)
    labels = window.paint(Prediction(logits, scores, FineLogit(ROOTS, fine)))
    seen = labels.analysed_mask
    expected = np.where(source.array > 2.5, ROOTS, 4)
    wrong = (labels.volume.array != expected) & seen
    if window.offset is not None:
        assert not wrong.any()
    assert wrong.sum() < 0.15 * (expected == ROOTS).sum()
    assert set(np.unique(labels.volume.array[seen])) == {4, ROOTS}
    without = window.paint(Prediction(logits, scores))
    assert set(np.unique(without.volume.array[seen])) == {ROOTS}


def test_segmenting_asks_the_roots_network_and_says_so(tmp_path: Path) -> None:
    """The fake engine answers at full resolution, so its logits are halved here, as a network's are."""
    labels = np.zeros((96, 80, 128), np.uint8)
    labels[52:80, 14:44, 40:88] = 1
    labels[44:52, 14:44, 40:88] = 2
    labels[16:44, 14:44, 40:88] = 3
    array = encode_labels(labels, np.zeros_like(labels), np.full(labels.shape, 4.0))
    volume = Volume(array, build_affine(AXIAL, SPACING_MM, (0.0, 0.0, 0.0)))
    model = load_bundle(write_coded_bundle(tmp_path / "oracle"))
    inner = model.engine

    class Halved:
        name, precision, interpolation = inner.name, inner.precision, inner.interpolation

        def warm(self, shape: tuple[int, ...]) -> None:
            inner.warm(shape)

        def run(self, patch: Patch) -> np.ndarray:
            return np.ascontiguousarray(inner.run(patch)[:, ::2, ::2, ::2])

    class Rods(RootsNet):
        def forward(self, image: Tensor, guidance: Tensor) -> Tensor:
            assert int(guidance.argmax(1).max()) == 3
            answer = torch.full_like(image, -5.0)
            answer[..., 20:60, 10:16, 10:16] = 5.0
            answer[..., 20:60, 10:16, 100:106] = 5.0
            return answer

    stages: list[str] = []
    halved = replace(model, engine=Halved(), roots=finder(Rods(TINY)))
    found = segment(volume, halved, stages.append)
    assert isinstance(found, Segmentation)
    assert stages == ["level", "window", "network", "roots", "labels"]
    assert "roots" in found.timings_s
    assert (found.labels.volume.array == ROOTS).sum() == 2 * 40 * 6 * 6
    assert {5, 6} <= set(np.unique(found.sides.array))
    assert found.confidence["n4"] > 0.9


CARD = {
    "name": "tiny",
    "version": "1",
    "architecture": Architecture(width=4, dilations=(1,), decoder=2).to_dict(),
    "level_architecture": LevelArchitecture(width=4).to_dict(),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(5)
    network = DeepLabV3Plus3D(Architecture(width=4, dilations=(1,), decoder=2))
    finder = LevelNet(LevelArchitecture(width=4))
    return write_bundle(tmp_path / "tiny", CARD, network, finder, RootsNet(TINY))


def test_a_bundle_brings_its_roots_network_and_answers_as_it(folder: Path) -> None:
    torch.manual_seed(5)
    DeepLabV3Plus3D(Architecture(width=4, dilations=(1,), decoder=2))
    LevelNet(LevelArchitecture(width=4))
    same = RootsNet(TINY).eval()
    model = load_bundle(folder, engine="torch", device="cpu")
    assert model.roots is not None
    patch = patch_of(np.random.default_rng(1).normal(size=SHAPE).astype(np.float32))
    expected = finder(same).logits(patch, flat())
    np.testing.assert_allclose(model.roots.logits(patch, flat()), expected, atol=1e-5)


@pytest.mark.parametrize("harm", ["changed", "missing", "other sizes"])
def test_a_damaged_roots_network_is_refused(folder: Path, harm: str) -> None:
    file = folder / ROOTS_WEIGHTS
    if harm == "changed":
        file.write_bytes(file.read_bytes()[:-1] + b"x")
    elif harm == "missing":
        file.unlink()
    else:
        card = read_card(folder)
        card["roots_architecture"]["width"] = 8
        card["digest"] = digest_of(card, folder)
        (folder / CARD_FILE).write_text(json.dumps(card))
    with pytest.raises(BundleError, match=r"roots\.safetensors|do not fit"):
        load_bundle(folder, engine="torch", device="cpu")
