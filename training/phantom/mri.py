"""Turn tissues into an MR image: contrast, texture, coil, resolution and noise.

Contrast: S = PD · M_z · exp(−TE_eq / T2), M_z = (1 − E) / (1 − qE), E = exp(−(TR − train) / T1).
SPACE is less T2-weighted than its TE: the equivalent TE of a nominal 189 ms train is 70–140 ms.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final, Literal

import numpy as np
from scipy import fft
from scipy.ndimage import gaussian_filter

from dicomseg.volume import Array, Points
from training.phantom.blood import draw_blood
from training.phantom.person import Person, VesselKind, stream
from training.phantom.rasterise import CHUNK, Raster
from training.phantom.tissues import TISSUES, Tissue

Weighting = Literal["t2", "t1", "flair"]
_BLOCK: Final = 96


FAT: Final = (0.53, 1.10)
"""A person's fat over what its relaxation times say."""
FATS: Final = {
    "fat": 1.0,
    "mesentery": 1.0,
    "retro_fat": 1.0,
    "inter_fat": 1.0,
    "epidural_fat": 1.1,
}
"""Each fat beside. Behind the sac 28 T2 SPACE series hold 2.25 of the marrow's signal (80th percentile of
6 mm, median), in front of L4 0.70; 49 phantoms hold 2.57 and 0.75 with these factors and the coil's fall."""


@dataclass(frozen=True, slots=True)
class Contrast:
    """Signal of each tissue relative to marrow = 1, and how it was made (goes into the card)."""

    signals: Mapping[str, float]
    weighting: Weighting
    equivalent_te_ms: float
    randomised: bool


def _signal(tissue: Tissue, weighting: Weighting, te_ms: float) -> float:
    if weighting == "flair":
        recovery = abs(1 - 2 * np.exp(-1800 / tissue.t1_ms) + np.exp(-5000 / tissue.t1_ms))
        return float(tissue.pd * recovery * np.exp(-te_ms / tissue.t2_ms))
    tr_ms, train_ms = (2800.0, 380.0) if weighting == "t2" else (600.0, 100.0)
    e = np.exp(-(tr_ms - train_ms) / tissue.t1_ms)
    q = np.exp(-train_ms / tissue.t2_ms)
    return float(tissue.pd * (1 - e) / (1 - q * e) * np.exp(-te_ms / tissue.t2_ms))


def draw_contrast(
    seed: int,
    *,
    randomised: bool = False,
    weighting: Weighting = "t2",
    vessels: VesselKind = "usual",
) -> Contrast:
    """Draw a physical contrast with ± 15 % per tissue, or random signals for every tissue.

    randomised: for training only; keeps the order of nothing, so that shapes must be learned. vessels: `varied` draws
    blood and the fat beside it as `training.phantom.blood` does; other tissues are the same.
    """
    rng = stream(seed, f"contrast {weighting}")
    te_ms = {"t2": float(rng.uniform(70, 140)), "t1": 24.0, "flair": 110.0}[weighting]
    raw = {name: _signal(tissue, weighting, te_ms) for name, tissue in TISSUES.items()}
    if weighting == "t2":  # stimulated echoes keep muscle brighter than the formula says
        marrow = raw["marrow"]
        for name in ("muscle", "psoas", "wall", "erector", "multifidus"):
            raw[name] += 0.12 * marrow
    jitter = rng.lognormal(0, 0.15, len(raw))
    fat_factor = rng.uniform(*FAT)
    signals = {}
    for (name, value), factor in zip(raw.items(), jitter, strict=True):
        fixed = name in ("marrow", "air") or name in FATS  # all fat of a person is alike
        signals[name] = value / raw["marrow"] * (1.0 if fixed else factor)
        if name in FATS:
            signals[name] *= FATS[name] * fat_factor * (factor**0.3)
    if vessels == "varied" and weighting == "t2":

        def at_rest(tissue: Tissue) -> float:
            return _signal(tissue, weighting, te_ms) / raw["marrow"]

        signals |= draw_blood(stream(seed, "varied signals"), at_rest, signals)
    if randomised:
        for name, physical in signals.items():
            if name != "air":
                own = float(np.exp(rng.uniform(np.log(0.06), np.log(4.5))))
                signals[name] = (
                    own if rng.random() < 0.5 else physical * float(rng.lognormal(0, 0.5))
                )
    return Contrast(MappingProxyType(signals), weighting, te_ms, randomised)


class TissueTexture:
    """Signals of tissues with texture, repeatable and cheap: tiled periodic noise blocks."""

    __slots__ = ("_blocks", "_fat", "_offsets", "_signals", "_tissues")

    def __init__(self, seed: int, contrast: Contrast, person: Person, raster: Raster) -> None:
        rng = stream(seed, "texture")
        spacing, shape = raster.spacing_mm, raster.shape
        long_axis = int(np.argmax(np.abs(raster.affine[2, :3])))
        fibre = np.array([0.9, 0.9, 0.9]) / spacing
        fibre[long_axis] = 6.0 / spacing[long_axis]
        sigmas = {
            "grain": 0.9 / spacing,
            "cloud": 3.6 / spacing,
            "fibre": fibre,
            "island": 1.3 / spacing,
        }
        self._blocks = {}
        for name, sigma in sigmas.items():
            block = gaussian_filter(
                rng.standard_normal((_BLOCK,) * 3, dtype=np.float32),
                np.minimum(sigma, 8.0),
                mode="wrap",
            )
            block = (block / block.std()).astype(np.float32)
            repeats = [-(-(_BLOCK + n) // _BLOCK) for n in (CHUNK, *shape[1:])]
            self._blocks[name] = np.tile(block, repeats)
        self._signals = contrast.signals
        self._fat = contrast.signals["inter_fat"]
        scale = person.muscle_fat / 0.12
        self._tissues = {
            name: (t.grain, t.cloud, min(t.fleck * (scale if name != "marrow" else 1.0), 0.6))
            for name, t in TISSUES.items()
        }
        self._offsets = {
            name: tuple(int(v) for v in rng.integers(0, _BLOCK, 3)) for name in sorted(TISSUES)
        }

    def _take(
        self, block: str, tissue: str, box: tuple[slice, slice, slice], turn: int = 0
    ) -> Array:
        offset = self._offsets[tissue]
        index = []
        for axis, s in enumerate(box):
            shift = offset[(axis + turn) % 3] + 17 * turn
            start = (s.start + shift) % _BLOCK if axis == 0 else shift % _BLOCK + s.start
            index.append(slice(start, start + s.stop - s.start))
        return np.asarray(self._blocks[block][tuple(index)])

    def signal(self, tissue: str, box: tuple[slice, slice, slice]) -> Array | float:
        """Return the signal per voxel of an index box."""
        base = self._signals[tissue]
        grain, cloud, fleck = self._tissues[tissue]
        if not grain and not cloud:
            return base
        size = (box[0].stop - box[0].start) * (box[1].stop - box[1].start)
        if size == 0:
            return base
        texture = grain * self._take("grain", tissue, box)
        texture += np.float32(cloud) * self._take("cloud", tissue, box)
        texture += np.float32(1.0)
        texture *= np.float32(base)
        if fleck:
            kind = "island" if tissue == "marrow" else "fibre"
            field = self._take(kind, tissue, box, 1) + 0.6 * self._take("cloud", tissue, box, 2)
            start = 1.17 * (1.5 - 2.6 * fleck)
            share = np.clip((field - np.float32(start)) * np.float32(1.4), 0.0, 0.9)
            texture += share * (np.float32(self._fat) - texture)
        return np.asarray(np.maximum(texture, np.float32(0.0)))


@dataclass(frozen=True, slots=True)
class Scan:
    """Imperfections of one acquisition; all of them go into the card."""

    coil_per_mm: float
    """1/L of the exponential fall toward the front."""
    snr: float
    """Marrow signal over noise."""
    window: tuple[float, float, float]
    """Share of k-space acquired along (i, j, k)."""
    saturation_y_mm: float | None
    """Tissue in front of it is dark; None without a saturation band."""
    side_shading: float
    edge_slices: int
    grey: float
    """Stored value of marrow."""
    clip: int
    """Largest stored value."""


def draw_scan(seed: int) -> Scan:
    """Draw the imperfections of one acquisition."""
    rng = stream(seed, "scan")
    # Marrow of 28 series rises by e per 41 to 93 mm toward the back; corrected images do not rise at all.
    coil = float(rng.uniform(0, 0.024))
    saturated = rng.random() < 0.25
    window = rng.uniform([0.72, 0.62, 0.62], [1.0, 1.0, 1.0])
    return Scan(
        coil,
        float(rng.uniform(9, 36)),
        (float(window[0]), float(window[1]), float(window[2])),
        float(rng.uniform(-62, -42)) if saturated else None,
        float(rng.uniform(-0.2, 0.2)),
        int(rng.integers(0, 5)),
        float(rng.uniform(250, 620)),
        4095 if rng.random() < 0.85 else int(rng.uniform(900, 1600)),
    )


def _window(count: int, share: float, *, half: bool = False) -> Array:
    frequency = np.abs(fft.rfftfreq(count) if half else fft.fftfreq(count))
    edge = 0.5 * share
    if share >= 0.995:
        return np.ones(len(frequency), dtype=np.float32)
    return np.asarray(np.clip((edge - frequency) / 0.05 + 0.5, 0, 1).astype(np.float32))


def _gain(
    affine: Points, shape: tuple[int, int, int], scan: Scan, centre_lps: Points
) -> list[Array]:
    """Return the separable gains along i, j, k from the coil, side shading and slab edges."""
    out = []
    for axis, count in enumerate(shape):
        steps = np.arange(count) - (count - 1) / 2
        d = affine[:3, axis]
        log = scan.coil_per_mm * d[1] * steps + scan.side_shading * d[0] * steps / 100.0
        out.append(np.exp(log).astype(np.float32))
    middle = affine[:3, :3] @ ((np.asarray(shape) - 1) / 2) + affine[:3, 3]
    log0 = scan.coil_per_mm * (middle[1] - centre_lps[1])
    log0 += scan.side_shading * (middle[0] - centre_lps[0]) / 100
    out[0] *= np.float32(np.exp(log0))
    for n in range(min(scan.edge_slices, shape[0] // 4)):
        fall = np.float32(0.5 + 0.5 * (n + 0.5) / scan.edge_slices)
        out[0][n] *= fall
        out[0][-1 - n] *= fall
    return out


def acquire(
    image: Array, affine: Points, scan: Scan, centre_lps: Points, seed: int, workers: int = 1
) -> Array:
    """Apply coil, limited resolution, Rician noise and integer grey values (float32).

    image: signals relative to marrow. centre_lps: the L4/5 disc, where the coil's gain is one.
    """
    rng = stream(seed, "noise")
    gi, gj, gk = _gain(affine, image.shape, scan, np.asarray(centre_lps))
    signal = image * gi[:, None, None]
    signal *= gj[:, None] * gk
    if scan.saturation_y_mm is not None and abs(affine[1, 1]) > 0.3:
        y = affine[1, 3] + affine[1, 1] * np.arange(image.shape[1]) - centre_lps[1]
        dark = 0.12 + 0.88 / (1 + np.exp(-(y - scan.saturation_y_mm) / 4.0))
        signal *= dark[:, None].astype(np.float32)
    wi, wj = (_window(n, s) for n, s in zip(image.shape[:2], scan.window[:2], strict=True))
    wk = _window(image.shape[2], scan.window[2], half=True)
    keep = wi[:, None, None] * (wj[:, None] * wk)
    sigma = np.float32(1.0 / scan.snr / max(float(np.sqrt(np.mean(keep**2))), 0.2))

    def through(volume: Array) -> Array:
        return np.asarray(
            fft.irfftn(fft.rfftn(volume, workers=workers) * keep, s=volume.shape, workers=workers)
        )

    real = through(signal + sigma * rng.standard_normal(image.shape, dtype=np.float32))
    imaginary = through(sigma * rng.standard_normal(image.shape, dtype=np.float32))
    np.square(real, out=real)
    real += np.square(imaginary)
    np.sqrt(real, out=real)
    real *= np.float32(scan.grey)
    return np.clip(np.rint(real), 0, scan.clip).astype(np.float32)
