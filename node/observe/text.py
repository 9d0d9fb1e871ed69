"""Values as people read them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from node.journal.states import DeliveryState


def state_text(state: str) -> str:
    """Return a state as people read it: a delivery that is `dead` in the journal has failed."""
    return "failed" if state == DeliveryState.DEAD else state


def value_text(measurement: Mapping[str, Any], *, uncertain: bool = False) -> str:
    """Return one value in mm with its range, if it has one; a dash if it was refused.

    measurement: as in `result.json`. uncertain: add its standard uncertainty if there is no range.
    """
    value, within = measurement["value_mm"], measurement.get("range_mm")
    if value is None:
        return "–"
    if within is not None:
        return f"{value:.1f} ({within[0]:.1f}–{within[1]:.1f})"
    doubt = measurement.get("uncertainty_mm") if uncertain else None
    return f"{value:.1f}" if doubt is None else f"{value:.1f} ± {doubt:.1f}"
