"""Model bundles: weights and a card in one folder, loaded only when the digest and the table match.

`weights.safetensors` holds the segmentation network, `level.safetensors` the level finder,
`card.json` everything a reader needs to know about both.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from dicomseg.segmentation import EngineInfo
from dicomseg.structures import STRUCTURES
from model import level, oracle
from model.engines import Engine, OracleEngine, torch_engine
from model.errors import BundleError
from model.network import Architecture, DeepLabV3Plus3D

SCHEMA: Final = 1
WEIGHTS: Final = "weights.safetensors"
LEVEL_WEIGHTS: Final = "level.safetensors"
CARD: Final = "card.json"


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """A verified bundle with its engine and level finder ready to run.

    model_sd_mm: standard deviation of (automatic − reference) per measurement on the bundle's test
    cases; empty when no evaluation is on file.
    """

    info: EngineInfo
    engine: Engine
    finder: level.LevelFinder
    card: Mapping[str, Any]
    model_sd_mm: Mapping[str, float]


def default_path() -> Path:
    """Folder of the shipped bundle."""
    return Path(__file__).parent / "bundles" / "lumbar-l45"


def structure_table() -> list[dict[str, Any]]:
    """Return the table a bundle must agree with: label value and id."""
    return [{"value": s.value, "id": s.id} for s in STRUCTURES]


def digest_of(card: Mapping[str, Any], folder: Path) -> str:
    """sha256 over the card without its digest and over the weights that lie beside it."""
    body = {k: v for k, v in card.items() if k != "digest"}
    total = hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode())
    for name in (WEIGHTS, LEVEL_WEIGHTS):
        if (folder / name).exists():
            total.update(name.encode() + hashlib.sha256((folder / name).read_bytes()).digest())
    return total.hexdigest()


def seal(card: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the card with structure table and digest filled in."""
    full = {**card, "structures": structure_table()}
    return {**full, "digest": digest_of(full, folder)}


def write_bundle(
    folder: Path, card: Mapping[str, Any], network: nn.Module, level_network: nn.Module
) -> Path:
    """Write weights and sealed card; returns the folder. `card` needs name and version."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, module in ((WEIGHTS, network), (LEVEL_WEIGHTS, level_network)):
        tensors = {
            k: v.detach().to(memory_format=torch.contiguous_format).contiguous()
            for k, v in module.state_dict().items()
        }
        save_file(tensors, folder / name)
    text = json.dumps(seal({"schema": SCHEMA, **card}, folder), indent=1)
    (folder / CARD).write_text(text + "\n", encoding="utf-8")
    return folder


def read_card(folder: Path) -> dict[str, Any]:
    """Read and verify a bundle's card.

    Raises:
        BundleError: no card, not JSON, another schema, another structure table, or another digest.
    """
    path = folder / CARD
    try:
        card: Any = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise BundleError(
            f"{path}: {error}; point [model] bundle at a folder with weights and card"
        ) from error
    if not isinstance(card, dict) or card.get("schema") != SCHEMA:
        raise BundleError(
            f"{path}: schema {card.get('schema') if isinstance(card, dict) else None!r}, this version reads {SCHEMA}; export the bundle again"
        )
    if card.get("structures") != structure_table():
        raise BundleError(
            f"{path}: the structure table differs from this version's; retrain or use the version that wrote it"
        )
    if card.get("digest") != digest_of(card, folder):
        raise BundleError(
            f"{path}: the digest does not match the files; restore the bundle from its source"
        )
    return card


def _networks(folder: Path, card: Mapping[str, Any]) -> tuple[DeepLabV3Plus3D, level.LevelFinder]:
    try:
        network = DeepLabV3Plus3D(Architecture.from_dict(dict(card["architecture"])))
        network.load_state_dict(load_file(folder / WEIGHTS))
        finder = level.load_finder(card["level_architecture"], load_file(folder / LEVEL_WEIGHTS))
    except (KeyError, TypeError, RuntimeError, OSError) as error:
        first = str(error).splitlines()[0]
        raise BundleError(
            f"{folder}: weights and card do not fit ({first}); export the bundle again"
        ) from error
    return network.eval(), finder


def load(
    path: Path, *, engine: str = "auto", device: str = "auto", threads: int = 0
) -> LoadedModel:
    """Verify a bundle and make it ready.

    engine: auto or torch. device: auto, cpu or cuda. threads: 0 leaves the choice to torch.

    Raises:
        BundleError: the bundle is not what its card says.
        EngineError: the engine or device is not available.
    """
    card = read_card(path)
    ready: Engine
    finder: level.LevelFinder
    if card["architecture"].get("name") == "oracle":
        ready, finder = OracleEngine(), oracle.OracleFinder()
    else:
        network, finder = _networks(path, card)
        ready = torch_engine(network, engine=engine, device=device, threads=threads)
    info = EngineInfo(card["name"], card["version"], card["digest"], ready.name, ready.precision)
    return LoadedModel(info, ready, finder, card, dict(card.get("model_sd_mm", {})))
