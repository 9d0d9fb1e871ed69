"""Configuration keys that change what peers see, for the conformance statement."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from pydantic import BaseModel
from reference import table

from node.config.destinations import DicomDestination, DicomwebDestination
from node.config.receive import ReceiveConfig
from node.config.sections import NodeConfig, ResultsConfig, TrackConfig

_KEYS: Final[tuple[tuple[str, type[BaseModel], tuple[str, ...]], ...]] = (
    ("[node]", NodeConfig, ("ae_title", "host", "port", "station")),
    ("[receive]", ReceiveConfig, ()),
    ("[track]", TrackConfig, ()),
    ("[results]", ResultsConfig, ()),
    ('kind = "dicom"', DicomDestination, ()),
    ('kind = "dicomweb"', DicomwebDestination, ("url", "authorization_file", "proof")),
)


def keys() -> str:
    """Render the configuration keys that change what peers see, with their bounds."""
    rows = []
    for section, model, wanted in _KEYS:
        for key, info in model.model_fields.items():
            if info.description and key != "kind" and key in (wanted or model.model_fields):
                default = "required" if info.is_required() else _written(info.default)
                rows.append(
                    (f"`{section}` {key}", default, _bounds(info.metadata), info.description)
                )
    return table(("parameter", "default", "range", "meaning"), rows)


def _written(value: Any) -> str:
    if isinstance(value, tuple):
        return ", ".join(f"`{v}`" for v in value) or "none"
    return (
        f"`{str(value).lower()}`"
        if isinstance(value, bool)
        else f"`{value}`"
        if value != ""
        else "empty"
    )


def _bounds(metadata: Sequence[Any]) -> str:
    words = {"ge": "≥ {}", "gt": "> {}", "le": "≤ {}", "max_length": "≤ {} characters"}
    found = ((words[k], getattr(m, k)) for m in metadata for k in words if hasattr(m, k))
    return ", ".join(word.format(f"{value:g}") for word, value in found)
