"""Model bundles: weights and a card in one folder, loaded only when the digest and the table match.

`weights.safetensors` holds the segmentation network, `level.safetensors` the level finder,
`roots.safetensors`, where there is one, the network of the L4 roots, `card.json` everything a reader needs to know
about them.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import torch
from safetensors import SafetensorError
from safetensors import torch as tensors_of
from torch import nn

from dicomseg.result import ModelError
from dicomseg.segmentation import EngineInfo
from dicomseg.structures import BY_ID, STRUCTURES, StructureId
from model import window
from model.engines import coded as oracle
from model.engines.choose import Engine, EngineOptions, OracleEngine, choose, roots_finder
from model.errors import BundleError
from model.level import finder as level
from model.networks.deeplab import Architecture, DeepLabV3Plus3D
from model.roots import RootsFinder, RootsNet, load_roots

SCHEMA: Final = 1
WEIGHTS: Final = "weights.safetensors"
LEVEL_WEIGHTS: Final = "level.safetensors"
ROOTS_WEIGHTS: Final = "roots.safetensors"
CARD: Final = "card.json"
NEEDED: Final = ("name", "version", "architecture")
"""What every card says beside schema, grid, structures, files and digest, which `seal` fills in."""


@dataclass(frozen=True, slots=True, eq=False)
class LoadedModel:
    """A verified bundle with its engine and level finder ready to run.

    model_errors: what the model adds to the uncertainty of each measurement, by its test cases (`model_sd_mm` and
    `model_share` of the card); empty when no evaluation is on file. note: one line about an engine that could not be had. roots: None
    where the bundle has no network of its own for the roots. outline_shifts: added to the logits of structures before
    their outlines are measured (ADR 0019); labels know nothing of them.
    """

    info: EngineInfo
    engine: Engine
    finder: level.LevelFinder
    card: Mapping[str, Any]
    model_errors: Mapping[str, ModelError]
    note: str = ""
    roots: RootsFinder | None = None
    outline_shifts: Mapping[StructureId, float] = field(default_factory=dict)


def default_path() -> Path:
    """Folder of the shipped bundle."""
    return Path(__file__).parents[1] / "bundles" / "lumbar-l45"


def structure_table() -> list[dict[str, Any]]:
    """Return the table a bundle must agree with: label value and id."""
    return [{"value": s.value, "id": s.id} for s in STRUCTURES]


def grid_table() -> dict[str, Any]:
    """Return the grid a bundle's network was trained on and has to be run on."""
    return {
        "spacing_mm": list(window.SPACING_MM),
        "window": list(window.PAPER_SHAPE),
        "padding": "at the end of each axis",
    }


def _files(folder: Path) -> dict[str, str]:
    """sha256 of each file of weights in the folder."""
    names = (WEIGHTS, LEVEL_WEIGHTS, ROOTS_WEIGHTS)
    there = [folder / name for name in names if (folder / name).exists()]
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in there}


def digest_of(card: Mapping[str, Any], folder: Path) -> str:
    """sha256 over the card without its digest and over the weights that lie beside it."""
    body = {k: v for k, v in card.items() if k != "digest"}
    total = hashlib.sha256(json.dumps(body, sort_keys=True, separators=(",", ":")).encode())
    for name, digest in _files(folder).items():
        total.update(name.encode() + bytes.fromhex(digest))
    return total.hexdigest()


def seal(card: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Return the card with grid, structure table, files and digest filled in."""
    made = {"grid": grid_table(), "structures": structure_table(), "files": _files(folder)}
    full = {**card, **made}
    return {**full, "digest": digest_of(full, folder)}


def write_bundle(
    folder: Path,
    card: Mapping[str, Any],
    network: nn.Module,
    level_network: nn.Module,
    roots: RootsNet | None = None,
) -> Path:
    """Write weights and sealed card; returns the folder. `card` needs what `NEEDED` names."""
    folder.mkdir(parents=True, exist_ok=True)
    modules = {WEIGHTS: network, LEVEL_WEIGHTS: level_network}
    if roots is not None:
        modules[ROOTS_WEIGHTS] = roots
        card = {**card, "roots_architecture": roots.architecture.to_dict()}
    for name, module in modules.items():
        tensors = {
            k: v.detach().to(memory_format=torch.contiguous_format).contiguous()
            for k, v in module.state_dict().items()
        }
        (folder / name).write_bytes(tensors_of.save(tensors))
    text = json.dumps(seal({"schema": SCHEMA, **card}, folder), indent=1)
    (folder / CARD).write_text(text + "\n", encoding="utf-8")
    return folder


def read_card(folder: Path) -> dict[str, Any]:
    """Read and verify a bundle's card.

    Raises:
        BundleError: no card, not JSON, another schema, a key missing, another structure table or
            grid, a file of weights missing or changed, or another digest.
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
    missing = next((key for key in NEEDED if key not in card), None)
    if missing:
        raise BundleError(f"{path}: {missing} is missing; export the bundle again")
    differs = _difference(card)
    if differs:
        raise BundleError(
            f"{path}: the {differs} differs from this version's; retrain or use the version that wrote it"
        )
    _verify(card, folder)
    return card


def _difference(card: Mapping[str, Any]) -> str | None:
    """Name the table of the card that is not this version's; how the padding is told does not count."""
    if card.get("structures") != structure_table():
        return "structure table"
    grid, ours = card.get("grid"), grid_table()
    same = isinstance(grid, dict) and all(grid.get(k) == ours[k] for k in ("spacing_mm", "window"))
    return None if same else "grid"


def _verify(card: Mapping[str, Any], folder: Path) -> None:
    """Compare files and digest with the card; the file that differs is named."""
    there = _files(folder)
    for name, digest in card.get("files", {}).items():
        if there.get(name) != digest:
            state = "has changed" if name in there else "is missing"
            raise BundleError(f"{folder / name} {state}; restore the bundle from its source")
    if card.get("digest") != digest_of(card, folder):
        raise BundleError(
            f"{folder / CARD}: the digest does not match the files; restore the bundle from its source"
        )


def _networks(
    folder: Path, card: Mapping[str, Any]
) -> tuple[DeepLabV3Plus3D, level.LevelFinder, RootsNet | None]:
    try:
        network = DeepLabV3Plus3D(Architecture.from_dict(dict(card["architecture"])))
        network.load_state_dict(tensors_of.load((folder / WEIGHTS).read_bytes()))
        weights = tensors_of.load((folder / LEVEL_WEIGHTS).read_bytes())
        finder = level.load_finder(card["level_architecture"], weights)
        roots = _roots(folder, card)
    except (LookupError, TypeError, ValueError, RuntimeError, OSError, SafetensorError) as error:
        first = str(error).splitlines()[0]
        raise BundleError(
            f"{folder}: weights and card do not fit ({first}); export the bundle again"
        ) from error
    return network.eval(), finder, roots


def _roots(folder: Path, card: Mapping[str, Any]) -> RootsNet | None:
    if "roots_architecture" not in card:
        return None
    return load_roots(
        card["roots_architecture"], tensors_of.load((folder / ROOTS_WEIGHTS).read_bytes())
    )


def load_network(path: Path) -> DeepLabV3Plus3D:
    """Verify a bundle and return its network as it was trained, without an engine.

    Raises:
        BundleError: the bundle is not what its card says, or holds no network.
    """
    card = read_card(path)
    if card["architecture"].get("name") == "oracle":
        raise BundleError(f"{path}: holds no network; give a trained bundle")
    return _networks(path, card)[0]


def load(
    path: Path,
    *,
    engine: str = "auto",
    device: str = "auto",
    threads: int = 0,
    precision: str = "auto",
    cache: Path | None = None,
) -> LoadedModel:
    """Verify a bundle and make it ready.

    engine: auto, torch or openvino. device: auto, cpu or cuda. threads: 0 leaves the choice to torch.
    precision: auto or float32. cache: folder of converted networks; None converts each time.

    Raises:
        BundleError: the bundle is not what its card says.
        EngineError: the engine or device is not available.
    """
    card = read_card(path)
    ready: Engine
    finder: level.LevelFinder
    roots = None
    if card["architecture"].get("name") == "oracle":
        ready, finder, note = OracleEngine(), oracle.OracleFinder(), ""
    else:
        network, finder, own = _networks(path, card)
        options = EngineOptions(engine, device, threads, precision, cache)
        ready, note = choose(network, options, card["digest"])
        if own is not None:
            roots, more = roots_finder(own, ready, options, card["digest"])
            note = "; ".join(filter(None, (note, more)))
    info = EngineInfo(card["name"], card["version"], card["digest"], ready.name, ready.precision)
    errors, shifts = _model_errors(card, path), _outline_shifts(card, path)
    return LoadedModel(info, ready, finder, card, errors, note, roots, shifts)


def _model_errors(card: Mapping[str, Any], folder: Path) -> dict[str, ModelError]:
    """Read `model_sd_mm` and `model_share`; a hand may have written them."""
    sds, shares = card.get("model_sd_mm", {}), card.get("model_share", {})
    for key, values in (("model_sd_mm", sds), ("model_share", shares)):
        if not isinstance(values, dict) or not all(_is_size(v) for v in values.values()):
            raise BundleError(
                f"{folder / CARD}: {key} is no table of finite numbers, 0 or more; export the bundle again"
            )
    return {name: ModelError(sd, shares.get(name, 0.0)) for name, sd in sds.items()}


def _outline_shifts(card: Mapping[str, Any], folder: Path) -> dict[StructureId, float]:
    """Read `outline_shifts`; a hand may have written them."""
    shifts = card.get("outline_shifts", {})
    known = isinstance(shifts, dict) and shifts.keys() <= BY_ID.keys()
    if not known or not all(_is_number(v) for v in shifts.values()):
        raise BundleError(
            f"{folder / CARD}: outline_shifts is no table of finite numbers by structure; export the bundle again"
        )
    return dict(shifts)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and math.isfinite(value)


def _is_size(value: object) -> bool:
    return isinstance(value, int | float) and 0 <= value < math.inf
