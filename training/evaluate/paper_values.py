"""The values of the paper, printed beside ours.

Wang M, Su Z, Liu Z, Chen T, Cui Z, Li S, Pang S, Lu H. Deep Learning-Based Automated Magnetic Resonance
Image Segmentation of the Lumbar Structure and Its Adjacent Structures at the L4/5 Level. Bioengineering
2023, 10(8), 963. https://doi.org/10.3390/bioengineering10080963. © 2023 the authors, CC BY 4.0.
Tables 2 and 3, §3.1. Values marked as derived are not in the paper: they follow from its Table 3.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from dicomseg.measurement_names import MeasurementName
from dicomseg.structures import StructureId

SOURCE: Final = (
    "Wang et al., Bioengineering 2023, 10(8), 963, doi 10.3390/bioengineering10080963, CC BY 4.0"
)
ORDER: Final[tuple[StructureId, ...]] = ("l4", "ivd", "l5", "dura", "n4", "aa", "pm", "ivc")
"""Columns of Table 2 before "All"."""


@dataclass(frozen=True, slots=True)
class PaperScores:
    """One row of Table 2: means over five folds, by structure; `mean` is its column "All"."""

    by_structure: Mapping[StructureId, float]
    mean: float


def _row(*values: float) -> PaperScores:
    return PaperScores(dict(zip(ORDER, values[:-1], strict=True)), values[-1])


TABLE2: Final[Mapping[str, Mapping[str, PaperScores]]] = {
    "dice": {
        "training": _row(0.951, 0.955, 0.951, 0.935, 0.805, 0.921, 0.976, 0.930, 0.928),
        "validation": _row(0.926, 0.921, 0.925, 0.895, 0.700, 0.860, 0.951, 0.878, 0.882),
        "test": _row(0.931, 0.924, 0.928, 0.903, 0.721, 0.852, 0.950, 0.880, 0.886),
    },
    "precision": {
        "training": _row(0.956, 0.954, 0.955, 0.940, 0.810, 0.924, 0.974, 0.930, 0.930),
        "validation": _row(0.938, 0.925, 0.930, 0.910, 0.731, 0.894, 0.952, 0.904, 0.898),
        "test": _row(0.941, 0.923, 0.937, 0.915, 0.756, 0.881, 0.948, 0.895, 0.899),
    },
    "recall": {
        "training": _row(0.947, 0.956, 0.945, 0.934, 0.818, 0.921, 0.979, 0.934, 0.929),
        "validation": _row(0.916, 0.920, 0.921, 0.886, 0.703, 0.835, 0.951, 0.862, 0.874),
        "test": _row(0.923, 0.928, 0.920, 0.896, 0.717, 0.837, 0.953, 0.872, 0.881),
    },
}
SHARE_ABOVE: Final[Mapping[float, float]] = {0.85: 0.92, 0.90: 0.15}
"""Share of test cases whose Dice lies above, §3.1."""


@dataclass(frozen=True, slots=True)
class PaperMeasurement:
    """One row of Table 3, mm: three times (mean, SD, minimum, maximum), Pearson R, Wilcoxon p; n = 50.

    sd_difference, limits, icc: derived from the row, not printed in the paper.
    """

    automatic: tuple[float, float, float, float]
    reference: tuple[float, float, float, float]
    error: tuple[float, float, float, float]
    pearson_r: float
    wilcoxon_p: float
    sd_difference: float
    limits: tuple[float, float]
    icc: float


TABLE3_N: Final = 50
TABLE3: Final[Mapping[MeasurementName, PaperMeasurement]] = {
    "OC": PaperMeasurement(
        (9.214, 4.897, 0.0, 17.97),
        (9.077, 5.038, 0.0, 21.80),
        (0.866, 0.706, 0.0, 3.83),
        0.975,
        0.259,
        1.12,
        (-2.05, 2.32),
        0.975,
    ),
    "DAA": PaperMeasurement(
        (11.852, 3.150, 6.10, 24.35),
        (11.828, 3.193, 6.95, 24.10),
        (0.779, 0.697, 0.01, 4.26),
        0.945,
        0.504,
        1.053,
        (-2.04, 2.08),
        0.946,
    ),
    "DIVC": PaperMeasurement(
        (21.081, 7.257, 8.42, 36.43),
        (21.039, 7.217, 8.71, 36.68),
        (1.121, 1.312, 0.05, 7.30),
        0.971,
        0.947,
        1.743,
        (-3.35, 3.44),
        0.972,
    ),
    "PI": PaperMeasurement(
        (1.929, 1.504, 0.0, 5.82),
        (1.852, 1.382, 0.0, 5.95),
        (0.489, 0.462, 0.0, 2.06),
        0.895,
        0.241,
        0.672,
        (-1.24, 1.39),
        0.892,
    ),
}
