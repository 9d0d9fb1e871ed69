"""The configured bundle with its engine, and where its converted network is kept."""

from __future__ import annotations

import os
from pathlib import Path

from model.bundle.card import default_path
from model.bundle.load import LoadedModel, load_bundle
from node.config.sections import ModelConfig
from node.program import DISTRIBUTION
from node.store.layout import StateDirectory


def load_model(
    config: ModelConfig, *, state: Path | None = None, path: Path | None = None
) -> LoadedModel:
    """Load the configured bundle with its engine.

    state: the service's folder, which keeps the converted network; without one it is the user's cache.
    path: another bundle than the configured one. Raises `BundleError` and `EngineError`.
    """
    chosen = path or (Path(config.bundle) if config.bundle else default_path())
    usual = StateDirectory(state).engines if state else _user_cache()
    return load_bundle(
        chosen,
        engine=config.engine,
        device=config.device,
        threads=config.threads,
        precision=config.precision,
        cache=Path(config.cache) if config.cache else usual,
    )


def _user_cache() -> Path | None:
    """Return the folder in the user's cache (XDG Base Directory); None for a user without a home."""
    configured = Path(os.environ.get("XDG_CACHE_HOME", ""))
    try:
        # The specification ignores a relative one.
        base = configured if configured.is_absolute() else Path("~/.cache").expanduser()
    except RuntimeError:
        return None
    return base / DISTRIBUTION / "engines"
