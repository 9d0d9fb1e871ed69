"""What the service has to know of the networks' sizes; needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from dicomseg.structures import CHANNELS

HEAT_FACTOR: Final = (2, 2, 1)
"""Search-grid voxels per heat-map voxel of the level network along slices, rows and columns."""
ROOTS_NAME: Final = "roots-unet"
"""Name of the roots network's architecture in a card."""
ROOTS_MULTIPLE: Final = 8
"""The roots network halves its grid three times."""


@dataclass(frozen=True, slots=True)
class RootsArchitecture:
    """Sizes of the network; written into the bundle's card.

    width: channels at full resolution. deep: channels at the three coarser levels. places: whether the guidance
    includes the coordinates from the middle of the disc.
    """

    width: int = 8
    deep: tuple[int, int, int] = (24, 48, 64)
    places: bool = False

    @property
    def guidance_count(self) -> int:
        """Guidance channels at half resolution: the probabilities and, with `places`, three coordinates."""
        return CHANNELS + 3 * self.places

    def to_dict(self) -> dict[str, Any]:
        """Return plain values for `card.json`."""
        return {"name": ROOTS_NAME, **asdict(self), "deep": list(self.deep)}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RootsArchitecture:
        """Invert `to_dict`.

        Raises:
            TypeError: an unknown key.
            ValueError: another architecture.
        """
        if values.get("name", ROOTS_NAME) != ROOTS_NAME:
            raise ValueError(f"architecture {values['name']!r} is not {ROOTS_NAME!r}")
        fields = {k: v for k, v in values.items() if k != "name"}
        return cls(**{**fields, "deep": tuple(fields["deep"])})
