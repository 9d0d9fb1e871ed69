"""Compare the further values of synthetic patients with their truth: the table of `docs/explanation/measurements.md`.

`python docs/further.py [--seeds 101 102 …] [--bundle BUNDLE]` prints one row per value: mean absolute and largest
error, how many of the errors lie within twice the stated uncertainty or the range, how many values were refused.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from dicomseg.measure.measure import DEFINITIONS, measure
from dicomseg.result import FurtherValue, Measurements
from dicomseg.segmentation import NotInView
from dicomseg.volume import Volume
from model.bundle.load import LoadedModel, load_bundle
from model.segment import segment
from training.phantom.further_truth import measure_further_truth
from training.phantom.phantom import build
from training.phantom.truth import disc_plane

BUNDLE = Path(__file__).resolve().parents[1] / "model" / "bundles" / "lumbar-l45"
SEEDS = tuple(range(101, 111))
_UNITS = {"mm": "mm", "mm2": "mm²", "deg": "°", "ratio": "%"}
_LENGTHS = ("artery_disc", "vein_disc")


def found_and_true(seed: int, model: LoadedModel) -> tuple[Measurements, dict[str, float | None]]:
    """Segment and measure one synthetic patient; returns what was found and what is true."""
    drawn = build(seed)
    found = segment(Volume(drawn.image, drawn.affine, "1.2.3"), model)
    if isinstance(found, NotInView):
        raise SystemExit(f"phantom {seed}: {found.reason}")
    truth = measure_further_truth(drawn.anatomy, disc_plane(drawn.anatomy))
    return measure(found, model.model_errors or None), truth


def values(found: Measurements) -> Iterator[FurtherValue]:
    """Return every compared value, lengths in the form of the others."""
    for name in _LENGTHS:
        m = found.extra[name]
        yield FurtherValue(
            name, m.method, "mm", None, m.value_mm, uncertainty=m.uncertainty_mm, range=m.range_mm,
            refusal=m.refusal,
        )  # fmt: skip
    yield from (found.further[what.name] for what in DEFINITIONS)


def row(name: str, pairs: list[tuple[FurtherValue, float | None]]) -> str:
    """Return the table's row of one value."""
    unit = pairs[0][0].unit
    scale = 100.0 if unit == "ratio" else 1.0
    both = [(m, t) for m, t in pairs if m.value is not None and t is not None]
    refused = sum(m.value is None for m, _ in pairs)
    errors = np.array([abs((m.value or 0.0) - t) for m, t in both]) * scale
    if not len(errors):
        return f"| `{name}` | – | – | – | 0 | {refused} |"
    covered = sum(_is_covered(m, t) for m, t in both)
    digits = 0 if unit == "mm2" else 1
    return (
        f"| `{name}` | {errors.mean():.{digits}f} {_UNITS[unit]} | {errors.max():.{digits}f} {_UNITS[unit]}"
        f" | {covered} | {len(both)} | {refused} |"
    )


def _is_covered(m: FurtherValue, true: float) -> bool:
    if m.range is not None:
        return m.range[0] <= true <= m.range[1]
    return abs((m.value or 0.0) - true) <= 2 * (m.uncertainty or 0.0)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--bundle", type=Path, default=BUNDLE)
    options = parser.parse_args()
    model = load_bundle(options.bundle)
    pairs: dict[str, list[tuple[FurtherValue, float | None]]] = {}
    for seed in options.seeds:
        found, truth = found_and_true(seed, model)
        for m in values(found):
            pairs.setdefault(m.name, []).append((m, truth[m.name]))
    lines = [
        "| value | mean absolute error | largest | within 2 u | compared | refused |",
        "| --- | --- | --- | --- | --- | --- |",
        *(row(name, of) for name, of in pairs.items()),
    ]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
