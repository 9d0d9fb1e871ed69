"""The card of a bundle, which every reader verifies before weights are loaded; needs neither torch nor numpy.

A bundle is a folder. `weights.safetensors` holds the segmentation network, `level.safetensors` the level finder,
`roots.safetensors`, in a bundle that refines roots, the network of the L4 roots, and `card.json` describes them. Beside
each lies its converted graph, by which the CPU runs it without torch.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from dicomseg.structures import STRUCTURES
from model.errors import BundleError
from model.grid import PAPER_SHAPE, SPACING_MM

SCHEMA: Final = 1
WEIGHTS: Final = "weights.safetensors"
LEVEL_WEIGHTS: Final = "level.safetensors"
ROOTS_WEIGHTS: Final = "roots.safetensors"
CARD: Final = "card.json"
NETWORKS: Final = (WEIGHTS, LEVEL_WEIGHTS, ROOTS_WEIGHTS)
"""Files of weights, in the order of the digest; each may have its converted graph beside it."""
REQUIRED: Final = ("name", "version", "architecture")
"""Keys of every card beside schema, grid, structures, files and digest, which `seal` fills in."""


def default_path() -> Path:
    """Return the folder of the shipped bundle."""
    return Path(__file__).parents[1] / "bundles" / "lumbar-l45"


def graph_of(weights: str) -> str:
    """Return the name of the converted graph beside a file of weights."""
    return f"{weights.removesuffix('.safetensors')}.graph.zip"


FILES: Final = (CARD, *NETWORKS, *(graph_of(name) for name in NETWORKS))
"""Every file that a bundle may hold."""


def structure_table() -> list[dict[str, Any]]:
    """Return the table a bundle must agree with: label value and id."""
    return [{"value": s.value, "id": s.id} for s in STRUCTURES]


def grid_table() -> dict[str, Any]:
    """Return the grid a bundle's network was trained on and has to be run on; axes (slices, rows, columns)."""
    return {
        "spacing_mm": list(SPACING_MM),
        "window": list(PAPER_SHAPE),
        "padding": "at the end of each axis",
    }


def digest_of(card: Mapping[str, Any], folder: Path) -> str:
    """Return the sha256 over the card without its digest and over the files of weights and graphs in its folder."""
    body = {k: v for k, v in card.items() if k != "digest"}
    total = hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode())
    for name, digest in _files(folder).items():
        total.update(name.encode() + bytes.fromhex(digest))
    return total.hexdigest()


def seal(card: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the card with grid, structure table, files and digest filled in."""
    tables = {"grid": grid_table(), "structures": structure_table(), "files": _files(folder)}
    sealed = {**card, **tables}
    return {**sealed, "digest": digest_of(sealed, folder)}


def read_card(folder: Path) -> dict[str, Any]:
    """Read and verify a bundle's card.

    Raises:
        BundleError: no card, not JSON, another schema, a key missing, another structure table or
            grid, a file of weights or a graph missing or changed, or another digest.
    """
    path = folder / CARD
    try:
        card: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not JSON"
        raise BundleError(
            f"{path}: cannot be read ({reason}); name a folder with weights and card"
        ) from error
    if not isinstance(card, dict) or card.get("schema") != SCHEMA:
        raise BundleError(
            f"{path}: schema {card.get('schema') if isinstance(card, dict) else None!r}, this version reads {SCHEMA}; export the bundle again"
        )
    missing = next((key for key in REQUIRED if key not in card), None)
    if missing:
        raise BundleError(f"{path}: {missing} is missing; export the bundle again")
    differs = _difference(card)
    if differs:
        raise BundleError(
            f"{path}: the {differs} differs from this version's; retrain or use the version that wrote it"
        )
    _verify(card, folder)
    return card


def _files(folder: Path) -> dict[str, str]:
    """Return the sha256 of each file of weights or graph in the folder."""
    paths = [folder / name for name in FILES if name != CARD and (folder / name).exists()]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in paths}


def _difference(card: Mapping[str, Any]) -> str | None:
    """Name the table of the card that is not this version's; the wording of the padding does not count."""
    if card.get("structures") != structure_table():
        return "structure table"
    grid, ours = card.get("grid"), grid_table()
    same = isinstance(grid, dict) and all(grid.get(k) == ours[k] for k in ("spacing_mm", "window"))
    return None if same else "grid"


def _verify(card: Mapping[str, Any], folder: Path) -> None:
    """Compare files and digest with the card; the file that differs is named."""
    files = _files(folder)
    for name, digest in card.get("files", {}).items():
        if files.get(name) != digest:
            state = "has changed" if name in files else "is missing"
            raise BundleError(f"{folder / name} {state}; restore the bundle from its source")
    if card.get("digest") != digest_of(card, folder):
        raise BundleError(
            f"{folder / CARD}: the digest does not match the files; restore the bundle from its source"
        )
