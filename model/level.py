"""Find the L4/5 disc: heat maps of five lumbar discs on a coarse grid, then the best consistent chain.

Counting from the sacrum is a convention (`dicomseg.segmentation.COUNTING_RULE`). All discs are placed
together, because the likely error is not a few millimetres but a whole level.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise, product
from typing import Any, Final, Protocol

import numpy as np
import torch
from scipy.ndimage import maximum_filter
from torch import Tensor, nn
from torch.nn import functional

from dicomseg.segmentation import Level, NotInView
from dicomseg.volume import AXIAL, Points, Volume

DISCS: Final = ("l5s1", "l45", "l34", "l23", "l12")
"""Channels, from the sacrum upwards."""
GRID_MM: Final = (3.0, 3.0, 4.0)
"""Slices, rows, columns of the search grid; a 14 mm slab still has four columns."""
HEAT_SIGMA_MM: Final = 6.0
DISC_SPACING_MM: Final = (24.0, 50.0)
"""Distance between neighbouring disc centres: 35.4–36.6 ± 2.5 mm in 24 SPIDER subjects, generous ends."""
LEAST_PEAK: Final = 0.25
"""A heat-map peak below this is no disc."""
LEAST_CONFIDENCE: Final = 0.35
"""Below this the answer is "not in the field of view"."""
DOUBTFUL: Final = 0.55
CANDIDATES: Final = 3


@dataclass(frozen=True, slots=True)
class LevelArchitecture:
    """Sizes of the level network; written into the bundle's card."""

    width: int = 16
    discs: int = len(DISCS)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for `card.json`."""
        return {"name": "level-unet", **asdict(self)}


def _double(inputs: int, outputs: int) -> nn.Sequential:
    layers: list[nn.Module] = []
    for i in (inputs, outputs):
        layers += [
            nn.Conv3d(i, outputs, 3, padding=1, bias=False),
            nn.GroupNorm(4, outputs),
            nn.LeakyReLU(0.1, inplace=True),
        ]
    return nn.Sequential(*layers)


class LevelNet(nn.Module):
    """Small U-Net, (N, 1, D, H, W) to heat-map logits (N, 5, D, H, W); strides (2, 2, 1) first, for thin slabs."""

    def __init__(self, architecture: LevelArchitecture) -> None:
        super().__init__()
        b = architecture.width
        self.enter, self.mid, self.deep = _double(1, b), _double(b, 2 * b), _double(2 * b, 4 * b)
        self.deepest = _double(4 * b, 4 * b)
        self.up2, self.up1, self.up0 = (
            _double(8 * b, 4 * b),
            _double(6 * b, 2 * b),
            _double(3 * b, b),
        )
        self.head = nn.Conv3d(b, architecture.discs, 1)

    def forward(self, image: Tensor) -> Tensor:
        """Return heat-map logits on the input grid."""
        a = self.enter(image)
        b = self.mid(functional.max_pool3d(a, (2, 2, 1), ceil_mode=True))
        c = self.deep(functional.max_pool3d(b, (2, 2, 1), ceil_mode=True))
        d = self.deepest(functional.max_pool3d(c, (2, 2, 2), ceil_mode=True))
        x = self.up2(torch.cat([functional.interpolate(d, size=c.shape[2:]), c], 1))
        x = self.up1(torch.cat([functional.interpolate(x, size=b.shape[2:]), b], 1))
        x = self.up0(torch.cat([functional.interpolate(x, size=a.shape[2:]), a], 1))
        heat: Tensor = self.head(x)
        return heat


class LevelFinder(Protocol):
    """Whatever can answer where L4/5 is in a volume."""

    def locate(self, volume: Volume) -> Level | NotInView:
        """Answer for one volume."""
        ...


def coarse(volume: Volume, grid_mm: tuple[float, float, float] = GRID_MM) -> Volume:
    """Average a volume onto the search grid along its own axes, axial order; grey values robustly z-scored."""
    turned = volume.oriented(AXIAL)
    size = [
        max(1, round(n * s / g))
        for n, s, g in zip(turned.shape, turned.spacing_mm, grid_mm, strict=True)
    ]
    array = torch.from_numpy(np.array(turned.array, dtype=np.float32))[None, None]
    small = functional.interpolate(array, size=size, mode="area")[0, 0].numpy()
    affine = turned.affine.copy()
    ratio = np.array(turned.shape) / np.array(size)
    affine[:3, :3] = turned.affine[:3, :3] * ratio
    affine[:3, 3] = turned.to_patient((ratio - 1) / 2)
    return Volume(scored(small), affine, volume.frame_of_reference_uid)


def scored(array: np.ndarray) -> np.ndarray:
    """Clip to the 1st–99th percentile and z-score."""
    low, high = np.percentile(array, [1, 99])
    clipped = np.clip(array, low, max(high, low + 1e-6))
    return np.asarray(
        (clipped - clipped.mean()) / max(float(clipped.std()), 1e-6), dtype=np.float32
    )


def _peaks(heat: np.ndarray, grid: Volume) -> list[tuple[float, Points]]:
    """Best local maxima of one heat map: value and sub-voxel LPS centre."""
    local = (heat == maximum_filter(heat, size=(5, 5, 3))) & (heat >= LEAST_PEAK)
    found = sorted(zip(*np.nonzero(local), strict=True), key=lambda p: -heat[p])[:CANDIDATES]
    out = []
    for peak in found:
        box = tuple(slice(max(0, int(p) - 2), int(p) + 3) for p in peak)
        weight = heat[box]
        index = np.stack(
            np.meshgrid(
                *(np.arange(s.start, s.start + n) for s, n in zip(box, weight.shape, strict=True)),
                indexing="ij",
            ),
            -1,
        )
        centre = (index * weight[..., None]).sum((0, 1, 2)) / weight.sum()
        out.append((float(heat[peak]), grid.to_patient(centre)))
    return out


def _consistent(lower: Points, upper: Points) -> bool:
    step = upper - lower
    distance = float(np.linalg.norm(step))
    return DISC_SPACING_MM[0] <= distance <= DISC_SPACING_MM[1] and step[2] > 0.5 * distance


def best_chain(peaks: list[list[tuple[float, Points]]]) -> dict[str, tuple[float, Points]]:
    """Choose one peak or none per disc so that neighbours fit and the sum of peaks is largest."""
    best: dict[str, tuple[float, Points]] = {}
    best_score = 0.0
    for choice in product(*([None, *p] for p in peaks)):
        chain = [(name, c) for name, c in zip(DISCS, choice, strict=True) if c is not None]
        places = [DISCS.index(name) for name, _ in chain]
        if any(b - a != 1 for a, b in pairwise(places)):
            continue
        if not all(_consistent(a[1][1], b[1][1]) for a, b in pairwise(chain)):
            continue
        score = sum(c[0] for _, c in chain)
        if score > best_score:
            best, best_score = dict(chain), score
    return best


def _normal(chain: Mapping[str, tuple[float, Points]]) -> Points:
    """Unit spine tangent at L4/5 from the neighbours in view, towards the head."""
    above, below, here = chain.get("l34"), chain.get("l5s1"), chain["l45"][1]
    steps = [above[1] - here] if above else []
    steps += [here - below[1]] if below else []
    if not steps:
        return np.array([0.0, 0.0, 1.0])
    total = np.sum([s / np.linalg.norm(s) for s in steps], axis=0)
    return np.asarray(total / np.linalg.norm(total))


def level_from(chain: Mapping[str, tuple[float, Points]]) -> Level | NotInView:
    """Turn a chain into the answer, with its confidence and warnings."""
    if "l45" not in chain:
        return NotInView()
    peak, centre = chain["l45"]
    neighbours = sum(name in chain for name in ("l5s1", "l34"))
    confidence = min(1.0, peak) * (0.6 + 0.2 * neighbours)
    if confidence < LEAST_CONFIDENCE:
        return NotInView(
            f"L4/5 not in the field of view (best candidate has confidence {confidence:.2f}, {LEAST_CONFIDENCE} is needed)"
        )
    warnings = []
    if confidence < DOUBTFUL:
        warnings.append(f"the level is uncertain (confidence {confidence:.2f}): check the counting")
    if "l5s1" not in chain:
        warnings.append("L5/S1 is not seen: the level was not counted from the sacrum")
    x, y, z = centre
    a, b, c = _normal(chain)
    return Level(
        (float(x), float(y), float(z)),
        (float(a), float(b), float(c)),
        round(confidence, 3),
        tuple(warnings),
    )


class NetworkFinder:
    """The shipped level finder."""

    def __init__(self, network: LevelNet) -> None:
        self._network = network.eval()

    def heat(self, grid: Volume) -> np.ndarray:
        """Heat maps (5, i, j, k) on the search grid, 0…1."""
        with torch.inference_mode():
            logits = self._network(torch.from_numpy(np.array(grid.array))[None, None])
        return np.asarray(torch.sigmoid(logits)[0].numpy())

    def locate(self, volume: Volume) -> Level | NotInView:
        """Answer for one volume."""
        grid = coarse(volume)
        return level_from(best_chain([_peaks(h, grid) for h in self.heat(grid)]))


def load_finder(architecture: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> NetworkFinder:
    """Build the finder from a bundle's card and weights; raises RuntimeError or TypeError when they do not fit."""
    values = {k: v for k, v in architecture.items() if k != "name"}
    network = LevelNet(LevelArchitecture(**values))
    network.load_state_dict(dict(tensors))
    return NetworkFinder(network)


def find(volume: Volume, finder: LevelFinder) -> Level | NotInView:
    """Find L4/5 in a volume of any orientation: LPS centre, normal to the head, confidence, warnings."""
    return finder.locate(volume)
