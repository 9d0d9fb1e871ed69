"""The level finder: naming discs by their chain, geometry of the search grid, real volumes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import SimpleITK
import torch

from dicomseg.segmentation import Level, NotInView
from dicomseg.volume import Volume, affine_of
from model import bundle
from model.level import (
    ABOVE,
    HEAT_FACTOR,
    L45,
    Candidate,
    Chain,
    HeatMaps,
    LevelArchitecture,
    LevelNet,
    LevelNets,
    NetworkFinder,
    best_chain,
    candidates,
    coarse,
    find,
    level_from,
    load_finder,
    middle_columns,
    untrained,
)

SHARED = Path(__file__).resolve().parents[2].parent / "shared" / "data"
STEP = np.array([0.0, -4.0, 35.0])


def disc(place: int, *identity: float) -> Candidate:
    """A disc `place` steps above L5/S1 with the given channel probabilities."""
    full = np.zeros(ABOVE + 1)
    full[: len(identity)] = identity
    return Candidate(np.array([2.0, 10.0, -60.0]) + place * STEP, full)


def spine(*places: int, peak: float = 0.8, shadow: float = 0.0) -> list[Candidate]:
    """Discs that know their own name with `peak` and also look like their upper neighbour by `shadow`."""
    found = []
    for place in places:
        identity = [0.0] * (ABOVE + 1)
        identity[place] = peak
        identity[min(place + 1, ABOVE)] = max(shadow, identity[min(place + 1, ABOVE)])
        found.append(disc(place, *identity))
    return found


def named(chain: Chain) -> list[int]:
    return [channel for channel, _ in chain.discs]


def test_a_whole_spine_is_named_from_the_sacrum_upwards() -> None:
    chain = best_chain(spine(0, 1, 2, 3, 4))
    assert named(chain) == [0, 1, 2, 3, 4]
    level = level_from(chain)
    assert isinstance(level, Level)
    np.testing.assert_allclose(level.centre_lps, np.array([2.0, 10.0, -60.0]) + STEP)
    np.testing.assert_allclose(level.normal, STEP / np.linalg.norm(STEP), atol=1e-12)
    assert level.warnings == ()


def test_one_disc_that_looks_like_another_is_outvoted_by_its_neighbours() -> None:
    found = spine(0, 1, 2, 3, 4)
    confused = disc(1, 0.0, 0.3, 0.85)  # L4/5 that looks like L3/4
    found[1] = confused
    chain = best_chain(found)
    assert chain.find(L45) is confused


def test_the_lead_shrinks_when_every_disc_also_looks_like_its_neighbour() -> None:
    sure, unsure = best_chain(spine(0, 1, 2)), best_chain(spine(0, 1, 2, shadow=0.75))
    assert sure.margin > 0.6 > unsure.margin >= 0.0
    level = level_from(unsure)
    assert isinstance(level, NotInView) or level.confidence < 0.5


def test_a_disc_that_was_not_seen_leaves_a_gap_of_two_steps() -> None:
    assert named(best_chain(spine(0, 1, 3, 4))) == [0, 1, 3, 4]


def test_l45_between_two_discs_that_are_seen_is_put_halfway_and_warned_of() -> None:
    chain = best_chain(spine(0, 2, 3, 4))
    assert named(chain) == [0, 2, 3, 4]
    level = level_from(chain)
    assert isinstance(level, Level)
    np.testing.assert_allclose(level.centre_lps, np.array([2.0, 10.0, -60.0]) + STEP)
    np.testing.assert_allclose(level.normal, STEP / np.linalg.norm(STEP), atol=1e-12)
    assert 0.25 < level.confidence < 0.5
    assert any("not seen: it was put halfway" in text for text in level.warnings)
    assert any("uncertain" in text for text in level.warnings)


def test_a_gap_that_could_be_counted_otherwise_gives_no_level() -> None:
    found = spine(0, 2, 3, peak=0.6)
    found[0].identity[1] = 0.58  # L5/S1 that is as much an L4/5
    found[1].identity[3] = 0.58
    found[2].identity[4] = 0.58
    assert isinstance(level_from(best_chain(found)), NotInView)


def test_a_faint_disc_does_not_make_a_sure_counting_doubtful() -> None:
    """As in SPIDER 152: nine discs named right, L4/5 at the slab's edge with a peak of 0.43."""
    found = spine(0, 1, 2, 3, 4, peak=0.65)
    found[1].identity[L45] = 0.43
    chain = best_chain(found)
    assert named(chain) == [0, 1, 2, 3, 4]
    assert chain.margin == pytest.approx(4 * 0.35 + 0.13)
    level = level_from(chain)
    assert isinstance(level, Level)
    assert level.confidence == pytest.approx(0.43)
    assert any("uncertain" in text for text in level.warnings)


def test_a_second_peak_on_the_same_disc_is_no_other_counting() -> None:
    found = spine(0, 1, 2, 3)
    beside = Candidate(found[1].centre_lps + np.array([9.0, 0.0, 2.0]), 0.95 * found[1].identity)
    twice = best_chain(sorted([*found, beside], key=lambda c: float(c.centre_lps[2])))
    assert twice.margin == pytest.approx(best_chain(found).margin)


def test_two_peaks_too_close_for_neighbours_are_never_both_in_the_chain() -> None:
    twin = Candidate(
        disc(1).centre_lps + np.array([0.0, 0.0, 9.0]), disc(2, 0.0, 0.0, 0.7).identity
    )
    chain = best_chain(sorted([*spine(0, 1, 2), twin], key=lambda c: float(c.centre_lps[2])))
    assert all(c is not twin for _, c in chain.discs)


def test_upper_lumbar_discs_alone_give_no_level() -> None:
    assert isinstance(level_from(best_chain(spine(2, 3, 4))), NotInView)


@pytest.mark.parametrize(
    ("peak", "own", "warned"),
    [(0.74, 0.8, True), (0.6, 0.8, False), (0.55, 0.6, True), (0.5, 0.6, False)],
)
def test_a_place_below_the_chain_that_looks_like_l5s1_is_warned_of(
    peak: float, own: float, *, warned: bool
) -> None:
    """As in SPIDER 98, where a finder counted from L4/5 and left L5/S1 out: 24 mm below, peak 0.74.

    And as in SPIDER 162, where both looked as much like L5/S1.
    """
    below = disc(0, peak)
    below = Candidate(below.centre_lps - np.array([0.0, 15.0, 20.0]), below.identity)
    level = level_from(best_chain([below, *spine(0, 1, 2, 3, peak=own)]))
    assert isinstance(level, Level)
    np.testing.assert_allclose(level.centre_lps, np.array([2.0, 10.0, -60.0]) + STEP)
    assert any("also looks like L5/S1" in text for text in level.warnings) is warned


def test_nothing_found_gives_no_level() -> None:
    answer = level_from(best_chain([]))
    assert answer == NotInView("L4/5 not in the field of view")


def test_a_slab_with_only_l45_and_part_of_a_neighbour_is_accepted() -> None:
    level = level_from(best_chain(spine(1, 2)))
    assert isinstance(level, Level)
    assert any("L5/S1 is not seen" in text for text in level.warnings)


def test_a_single_disc_is_accepted_with_an_upright_normal_and_less_confidence() -> None:
    alone, all_of_them = level_from(best_chain(spine(1))), level_from(best_chain(spine(0, 1, 2)))
    assert isinstance(alone, Level)
    assert isinstance(all_of_them, Level)
    assert alone.normal == (0.0, 0.0, 1.0)
    assert alone.confidence < all_of_them.confidence


def test_candidates_lie_at_the_centre_of_their_heat() -> None:
    grid = Volume(np.zeros((20, 24, 12)), affine_of(np.eye(3)[:, ::-1], (6, 6, 4), (-20, -70, 5)))
    truth = np.array([1.3, -11.0, 61.7])
    index = np.stack(np.meshgrid(*(np.arange(n) for n in grid.shape), indexing="ij"), -1)
    distance = np.linalg.norm(grid.to_patient(index) - truth, axis=-1)
    maps = np.zeros((ABOVE + 1, *grid.shape))
    maps[L45] = np.exp(-(distance**2) / (2 * 6.0**2))
    (found,) = candidates(maps, grid)
    assert np.linalg.norm(found.centre_lps - truth) < 0.5
    assert int(found.identity.argmax()) == L45


def test_the_search_grid_keeps_places_in_the_patient() -> None:
    rng = np.random.default_rng(1)
    array = rng.normal(0, 0.01, (30, 80, 70)).astype(np.float32)
    array[12:27, 21:42, 31:52] = 500.0
    sagittal = np.array([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # slices to the left, rows down
    volume = Volume(array, affine_of(sagittal, (4.0, 1.0, 1.0), (-60, -30, 90)))
    grid = coarse(volume)
    hot = np.argwhere(grid.array > grid.array.max() / 2).mean(axis=0)
    truth = volume.to_patient(np.array([19.0, 31.0, 41.0]))
    np.testing.assert_allclose(grid.to_patient(hot), truth, atol=1.5)


def test_wide_volumes_are_searched_about_their_middle() -> None:
    grid = Volume(
        np.zeros((4, 5, 60), np.float32), affine_of(np.eye(3)[:, ::-1], (3, 3, 4), (-118, 0, 0))
    )
    kept = middle_columns(grid)
    assert kept.shape == (4, 5, 36)
    middle = kept.to_patient((np.array(kept.shape) - 1) / 2)
    assert middle[0] == pytest.approx(0.0)


@pytest.mark.parametrize("shape", [(16, 16, 4), (35, 61, 5), (9, 8, 3)])
def test_heat_maps_cover_thin_and_odd_grids(shape: tuple[int, int, int]) -> None:
    network = LevelNet(LevelArchitecture(width=4)).eval()
    with torch.inference_mode():
        heat = network(torch.zeros(1, 1, *shape))
    expected = tuple(-(-n // f) for n, f in zip(shape, HEAT_FACTOR, strict=True))
    assert tuple(heat.shape) == (1, LevelArchitecture().discs, *expected)


def test_the_finder_maps_heat_to_the_patient_and_survives_its_own_weights() -> None:
    torch.manual_seed(0)
    network = LevelNet(LevelArchitecture(width=4))
    architecture = LevelArchitecture(width=4).to_dict()
    finder = load_finder(architecture, network.state_dict())
    grid = Volume(
        np.random.default_rng(2).normal(size=(12, 10, 6)).astype(np.float32),
        affine_of(np.eye(3)[:, ::-1], (3, 3, 4), (0, 0, 0)),
    )
    heat = finder.heat(grid)
    assert isinstance(heat, HeatMaps)
    np.testing.assert_allclose(heat.grid.to_patient(np.zeros(3)), (0.0, 1.5, 1.5))
    np.testing.assert_array_equal(heat.maps, NetworkFinder(network).heat(grid).maps)
    mirrored = finder.heat(replace(grid, array=grid.array[..., ::-1]))
    np.testing.assert_allclose(mirrored.maps, heat.maps[..., ::-1], atol=1e-6)
    with pytest.raises(RuntimeError):
        load_finder(LevelArchitecture(width=8).to_dict(), network.state_dict())


def test_several_networks_answer_with_their_mean_and_survive_their_own_weights() -> None:
    torch.manual_seed(1)
    architecture = LevelArchitecture(width=4, members=2)
    networks = untrained(architecture)
    assert isinstance(networks, LevelNets)
    image = torch.randn(1, 1, 12, 10, 6)
    with torch.inference_mode():
        one, other = (torch.sigmoid(member(image)) for member in networks.members)
        torch.testing.assert_close(torch.sigmoid(networks(image)), (one + other) / 2)
    assert not torch.allclose(one, other, atol=1e-3)
    load_finder(architecture.to_dict(), networks.state_dict())
    with pytest.raises(RuntimeError):
        load_finder(LevelArchitecture(width=4).to_dict(), networks.state_dict())


def read_nifti(path: Path) -> Volume:
    """A NIfTI volume in LPS; slowest axis first."""
    if not path.exists():
        pytest.skip(f"{path.parent.name}/{path.name} is not beside the repository")
    image = SimpleITK.ReadImage(str(path))
    directions = np.array(image.GetDirection()).reshape(3, 3)[:, ::-1]
    affine = affine_of(directions, image.GetSpacing()[::-1], image.GetOrigin())
    return Volume(SimpleITK.GetArrayFromImage(image).astype(np.float32), affine)


@pytest.fixture(scope="module")
def shipped() -> bundle.LoadedModel:
    if not (bundle.default_path() / bundle.CARD).exists():
        pytest.skip("no bundle is shipped with this checkout")
    return bundle.load(bundle.default_path(), device="cpu", threads=1)


@pytest.mark.shared
@pytest.mark.parametrize("subject", ["5", "45", "110", "200"])
def test_l45_is_found_in_patients_that_were_not_trained_on(
    subject: str, shipped: bundle.LoadedModel
) -> None:
    volume = read_nifti(SHARED / "spider" / f"{subject}.image.nii.gz")
    labels = read_nifti(SHARED / "spider" / f"{subject}.l45_labels.nii.gz")
    truth = labels.to_patient(np.argwhere(labels.array == 2).mean(axis=0))
    level = find(volume, shipped.finder)
    assert isinstance(level, Level)
    assert np.linalg.norm(np.array(level.centre_lps) - truth) < 5.0
    assert level.normal[2] > 0.7


@pytest.mark.shared
def test_l45_is_found_in_a_wide_volume_of_another_scanner(shipped: bundle.LoadedModel) -> None:
    volume = read_nifti(SHARED / "other" / "t2_lumbar.nii.gz")
    bodies = read_nifti(SHARED / "other" / "t2_lumbar.labels.nii.gz")
    l5, l4 = (bodies.to_patient(np.argwhere(bodies.array == n).mean(axis=0)) for n in (1, 2))
    level = find(volume, shipped.finder)
    assert isinstance(level, Level)
    assert np.linalg.norm(np.array(level.centre_lps) - (l4 + l5) / 2) < 8.0


@pytest.mark.shared
def test_a_cervical_volume_shows_no_l45(shipped: bundle.LoadedModel) -> None:
    volume = read_nifti(SHARED / "other" / "t2_cervical.nii.gz")
    assert isinstance(find(volume, shipped.finder), NotInView)


@pytest.mark.shared
def test_a_spine_without_its_sacrum_is_never_taken_without_a_warning(
    shipped: bundle.LoadedModel,
) -> None:
    answer = find(read_nifti(SHARED / "other" / "t2_lumbar_upper.nii.gz"), shipped.finder)
    assert isinstance(answer, NotInView) or answer.warnings
