"""The segmentation network in forms that other programs run: TorchScript, ONNX and a MONAI bundle.

One network only: from a window that is cut and z-scored to logits on the window's grid. Selection of the series, the level
finder, the refinement of roots, the removal of islands, drawing and measuring are not in it.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.onnx._internal.torchscript_exporter import onnx_proto_utils

from dicomseg.structures import CHANNELS, STRUCTURES
from model.bundle.card import read_card
from model.bundle.load_torch import load_network
from model.grid import MULTIPLE, PAPER_SHAPE, SPACING_MM
from model.networks.coordinates import COORDINATE_UNIT_MM, ENCODER_STRIDE
from model.networks.deeplab import DeepLabV3Plus3D

OPSET: Final = 17
EXAMPLE: Final = (16, 24, 32)
"""Window of the trace: three different sizes; others follow from it."""
FORMS: Final = ("torchscript", "onnx", "monai")
SIDE: Final = ".json"
"""Suffix of the description beside a network."""


class WholeWindow(nn.Module):
    """The network as one input and one output: it makes the coordinates itself, about the window's middle.

    Image (1, 1, D, H, W), z-scored, sizes multiples of 4, to logits (1, channels, D, H, W).
    """

    def __init__(self, network: DeepLabV3Plus3D) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: Tensor) -> Tensor:
        """Return logits on the image's own grid."""
        logits = self.network(image, _coordinates(image))
        fine: Tensor = functional.interpolate(
            logits, scale_factor=2.0, mode="trilinear", align_corners=False
        )
        return fine


def _coordinates(image: Tensor) -> Tensor:
    """Return what `model.networks.coordinates` returns for the middle of the window, in operations of a graph.

    The level lies on voxel n // 2 of each axis, as in the paper's window (`model.window.Window.centre`).
    """
    coarse = functional.avg_pool3d(image, ENCODER_STRIDE)
    ones = torch.ones_like(coarse)
    parts = []
    for axis, spacing in enumerate(SPACING_MM):
        # Numbers of the voxels along the axis, without asking for the size: that would fix it.
        numbers = ones.cumsum(axis + 2) - 1
        middle = ENCODER_STRIDE * ones.sum(axis + 2, keepdim=True) / 2
        at = numbers * ENCODER_STRIDE + (ENCODER_STRIDE - 1) / 2 - middle
        parts.append(at * (spacing / COORDINATE_UNIT_MM))
    return torch.cat(parts, dim=1)


def describe(card: Mapping[str, Any]) -> dict[str, Any]:
    """Return in plain values what the network takes and gives, and what is not in it."""
    return {
        "bundle": {key: card.get(key) for key in ("name", "version", "digest")},
        "input": {
            "name": "image",
            "axes": [
                "batch",
                "channel",
                "slices to the head",
                "rows to the back",
                "columns to the left",
            ],
            "spacing_mm": list(SPACING_MM),
            "window": list(PAPER_SHAPE),
            "sizes": f"batch 1; multiples of {MULTIPLE}; voxel n // 2 of each axis on the centre of the L4/5 disc",
            "intensity": "z-score over the voxels of the window that the image holds; 0 elsewhere",
        },
        "output": {
            "name": "logits",
            "axes": ["batch", "channel", "as the input"],
            "channels": {"0": "background", **{str(s.value): s.id for s in STRUCTURES}},
        },
        "not_in_it": "selection of the series, level finder, refinement of roots, removal of islands, drawing, measuring",
        "use": "research only",
    }


def write_torchscript(bundle: Path, out: Path) -> Path:
    """Write the bundle's network as TorchScript, its description beside it; returns `out`.

    Raises:
        BundleError: the bundle is not what its card says, or holds no network.
    """
    _write_traced(bundle, out)
    return _with_description(bundle, out)


def write_onnx(bundle: Path, out: Path) -> Path:
    """Write the bundle's network as ONNX for windows of any size, its description beside it; returns `out`.

    Raises:
        BundleError: the bundle is not what its card says, or holds no network.
    """
    # Torch imports the onnx package only to look for functions of onnxscript, of which this network has none.
    look = onnx_proto_utils._add_onnxscript_fn  # noqa: SLF001
    onnx_proto_utils._add_onnxscript_fn = lambda model_bytes, custom_opsets: model_bytes  # noqa: ARG005, SLF001
    axes = {2: "slices", 3: "rows", 4: "columns"}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the exporter without the onnx package is deprecated
            torch.onnx.export(
                WholeWindow(load_network(bundle)).eval(),
                (torch.zeros(1, 1, *EXAMPLE),),
                str(out),
                dynamo=False,
                opset_version=OPSET,
                input_names=["image"],
                output_names=["logits"],
                dynamic_axes={"image": axes, "logits": axes},
            )
    finally:
        onnx_proto_utils._add_onnxscript_fn = look  # noqa: SLF001
    return _with_description(bundle, out)


def write_monai(bundle: Path, out: Path) -> Path:
    """Write a MONAI bundle: `configs/metadata.json`, `configs/inference.json`, `models/model.ts`; returns `out`.

    Raises:
        BundleError: the bundle is not what its card says, or holds no network.
    """
    for folder in ("configs", "models", "docs"):
        (out / folder).mkdir(parents=True, exist_ok=True)
    card = read_card(bundle)
    _write_traced(bundle, out / "models" / "model.ts")
    _write(out / "configs" / "metadata.json", _metadata(card))
    _write(out / "configs" / "inference.json", _inference())
    (out / "docs" / "README.md").write_text(_readme(card), encoding="utf-8")
    return out


def _write_traced(bundle: Path, out: Path) -> None:
    network = WholeWindow(load_network(bundle)).eval()
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch.jit is deprecated, and MONAI bundles hold it
        traced = torch.jit.trace(network, torch.zeros(1, 1, *EXAMPLE), check_trace=False)  # type: ignore[no-untyped-call]
        torch.jit.save(traced, str(out))


def _metadata(card: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of MONAI's schema of metadata."""
    about = describe(card)
    channels = about["output"]["channels"]
    common: dict[str, Any] = {
        "type": "image",
        "modality": "MR",
        "spatial_shape": [f"{MULTIPLE}*n"] * 3,
    }
    common |= {"dtype": "float32", "is_patch_data": False}
    image = {"format": "magnitude", "num_channels": 1, "value_range": [-10, 10]}
    answer = {"format": "segmentation", "num_channels": CHANNELS, "value_range": [-100, 100]}
    return {
        "schema": "https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/meta_schema_20240725.json",
        "version": str(card["version"]),
        "changelog": {str(card["version"]): f"exported from {card['name']} {card['digest']}"},
        "monai_version": "1.6.1",
        "pytorch_version": str(torch.__version__).partition("+")[0],
        "numpy_version": "2.1.0",
        "required_packages_version": {"nibabel": "5.4.0"},
        "name": str(card["name"]),
        "task": "Segmentation of L4/5 on lumbar MR",
        "description": f"One network of {card['name']}. Not in it: {about['not_in_it']}.",
        "authors": "the authors of lumbar-node",
        "copyright": str(card.get("licence", "see the card of the bundle")),
        "intended_use": "Research only; no medical device.",
        "input": about["input"],
        "network_data_format": {
            "inputs": {"image": {**common, **image, "channel_def": {"0": "image"}}},
            "outputs": {"pred": {**common, **answer, "channel_def": channels}},
        },
    }


def _inference() -> dict[str, Any]:
    """Return a configuration that `monai.bundle` reads: windows from `dataset_dir` to label maps in `output_dir`."""
    keys = {"keys": "image"}
    return {
        "imports": ["$import glob", "$import os"],
        "bundle_root": ".",
        "dataset_dir": "$@bundle_root + '/windows'",
        "output_dir": "$@bundle_root + '/labels'",
        "datalist": "$[{'image': f} for f in sorted(glob.glob(os.path.join(@dataset_dir, '*.nii.gz')))]",
        "device": "$torch.device('cuda' if torch.cuda.is_available() else 'cpu')",
        "network": "$torch.jit.load(@bundle_root + '/models/model.ts').to(@device).eval()",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", **keys, "ensure_channel_first": True},
                # Columns to the left, rows to the back, slices to the head; then slices first.
                {"_target_": "Orientationd", **keys, "axcodes": "LPS"},
                {"_target_": "Spacingd", **keys, "pixdim": list(SPACING_MM[::-1])},
                {"_target_": "NormalizeIntensityd", **keys},
                {"_target_": "Transposed", **keys, "indices": [0, 3, 2, 1]},
                {"_target_": "DivisiblePadd", **keys, "k": MULTIPLE},
            ],
        },
        "dataset": {"_target_": "Dataset", "data": "@datalist", "transform": "@preprocessing"},
        "dataloader": {"_target_": "DataLoader", "dataset": "@dataset", "batch_size": 1},
        "inferer": {"_target_": "SimpleInferer"},
        "run": "$[@inferer(batch['image'].to(@device), @network).argmax(1) for batch in @dataloader]",
    }


def _readme(card: Mapping[str, Any]) -> str:
    about = json.dumps(describe(card), indent=1)
    return f"# {card['name']} {card['version']}\n\nResearch only.\n\n```json\n{about}\n```\n"


def _with_description(bundle: Path, out: Path) -> Path:
    _write(out.with_name(out.name + SIDE), describe(read_card(bundle)))
    return out


def _write(path: Path, values: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(values, indent=1) + "\n", encoding="utf-8")
