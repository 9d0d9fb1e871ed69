"""Channels of the level network's heat maps: one per named disc, from the sacrum upwards, and one for all above."""

from __future__ import annotations

from typing import Final

DISCS: Final = ("l5s1", "l45", "l34", "l23", "l12")
"""Named channels, from the sacrum upwards."""
ABOVE: Final = len(DISCS)
"""Channel of all discs above the named ones."""
L45: Final = DISCS.index("l45")
L34: Final = DISCS.index("l34")
L5S1: Final = DISCS.index("l5s1")
