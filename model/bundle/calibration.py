"""What an evaluation adds to a card: the model's errors and the shifts of its outlines."""

from __future__ import annotations

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dicomseg.result import ModelError
from dicomseg.structures import BY_ID, StructureId
from model.bundle.card import CARD
from model.errors import BundleError


def model_errors(card: Mapping[str, Any], folder: Path) -> dict[str, ModelError]:
    """Return the model's part of each measurement's uncertainty; empty for a model without an evaluation.

    From `model_sd_mm` (mm) and `model_share` (relative) of the card, which may have been edited.

    Raises:
        BundleError: one of them is not a table of finite numbers, 0 or more.
    """
    sds, shares = card.get("model_sd_mm", {}), card.get("model_share", {})
    for key, values in (("model_sd_mm", sds), ("model_share", shares)):
        if not isinstance(values, dict) or not all(_is_size(v) for v in values.values()):
            raise BundleError(
                f"{folder / CARD}: {key} is not a table of finite numbers, 0 or more; export the bundle again"
            )
    return {name: ModelError(sd, shares.get(name, 0.0)) for name, sd in sds.items()}


def outline_shifts(card: Mapping[str, Any], folder: Path) -> dict[StructureId, float]:
    """Return the logit added to each structure before its outlines are measured; empty for none.

    From `outline_shifts` of the card, which may have been edited.

    Raises:
        BundleError: it is not a table of finite numbers by structure.
    """
    shifts = card.get("outline_shifts", {})
    known = isinstance(shifts, dict) and shifts.keys() <= BY_ID.keys()
    if not known or not all(_is_number(v) for v in shifts.values()):
        raise BundleError(
            f"{folder / CARD}: outline_shifts is not a table of finite numbers by structure; export the bundle again"
        )
    return dict(shifts)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _is_size(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value < math.inf
