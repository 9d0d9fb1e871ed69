"""`echo` and `check-config`: who answers, without sending anything."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from dicomseg.errors import LumbarError
from node.destinations import Destination, PeerUnreachable

PACKAGES: Final = ("dicomseg", "model", "node", "training")


class UnknownDestination(LumbarError):
    """No destination has this name; the message lists those there are."""

    code = "unknown-destination"
    exit_code = 2


class PackagesApart(LumbarError):
    """Another package with one of our generic names is installed; use a fresh environment."""

    code = "packages-apart"
    exit_code = 2


@dataclass(frozen=True, slots=True)
class Reached:
    """What one destination answered."""

    name: str
    answers: bool
    text: str


def reach_all(destinations: Sequence[Destination]) -> tuple[Reached, ...]:
    """Try every destination, side by side so that dead ones do not add up their time-outs."""
    if not destinations:
        return ()
    with ThreadPoolExecutor(max_workers=min(8, len(destinations))) as pool:
        return tuple(pool.map(_reach, destinations))


def _reach(destination: Destination) -> Reached:
    try:
        return Reached(destination.name, True, destination.reach())
    except PeerUnreachable as error:
        return Reached(destination.name, False, str(error))


def packages_together(here: Path) -> None:
    """Check that the four packages lie in one folder. Raises `PackagesApart`.

    Their names are generic; pip installs another distribution's `model` over ours without a word.
    """
    for name in PACKAGES:
        spec = importlib.util.find_spec(name)
        found = None if spec is None or spec.origin is None else Path(spec.origin).resolve().parent
        if found != here.resolve() / name:
            where = "is missing" if found is None else f"comes from {found}"
            raise PackagesApart(
                f"package {name} {where} instead of {here / name}: another package of this name is "
                "installed here; use a fresh environment"
            )
