"""Read the configuration file: text to frozen sections with absolute paths."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from node.config.destinations import DestinationConfig, DicomwebDestination, FolderDestination
from node.config.fields import Section
from node.config.messages import messages
from node.config.sections import Config, NodeConfig
from node.errors import ConfigError

S = TypeVar("S", bound=Section)


def default_config(folder: Path | None = None) -> Config:
    """Return the configuration without a file, for commands that need no AE title."""
    return _resolved(Config(node=NodeConfig(ae_title="LUMBARNODE")), folder or Path.cwd())


def read_config(path: Path) -> Config:
    """Read, check and resolve a configuration file. Relative paths start at its folder.

    Raises:
        ConfigError: the file cannot be read, or one line per wrong key.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")  # editors of Windows write a byte-order mark
        raw = tomllib.loads(text)
    except OSError as error:
        raise ConfigError(
            f"{path}: cannot be read ({error.strerror}); give the file with --config"
        ) from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: is not UTF-8 text; save it as UTF-8") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path}: {error}; correct the TOML there") from error
    try:
        return _resolved(_validated(raw), path.resolve().parent)
    except ValidationError as error:
        lines = messages(text, raw, error, Config)
        raise ConfigError("\n".join(f"{path}:{line}" for line in lines)) from error


def _validated(raw: dict[str, Any]) -> Config:
    """Validate as JSON: there a list is a tuple and a text a path, and all else is strict."""
    return Config.model_validate_json(json.dumps(raw, default=str))


def _resolved(config: Config, folder: Path) -> Config:
    """Make every path absolute, relative ones from the file's folder."""

    def resolve(destination: DestinationConfig) -> DestinationConfig:
        if isinstance(destination, FolderDestination):
            return destination.model_copy(update={"path": folder / destination.path})
        if isinstance(destination, DicomwebDestination):
            return _with_folder(destination, folder, "authorization_file")
        return destination

    node = config.node.model_copy(
        update={
            "state": folder / config.node.state,
            "destination": tuple(resolve(d) for d in config.node.destination),
        }
    )
    model = _with_folder(config.model, folder, "bundle", "cache")
    schedule = _with_folder(config.training.schedule, folder, "data", "held_out", "recipe")
    training = config.training.model_copy(update={"schedule": schedule})
    return config.model_copy(update={"node": node, "model": model, "training": training})


def _with_folder(section: S, folder: Path, *keys: str) -> S:
    """Make these paths of a section absolute; an empty one stays empty."""
    values = {key: getattr(section, key) for key in keys}
    return section.model_copy(update={k: str(folder / v) for k, v in values.items() if v})
