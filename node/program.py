"""The name under which this program is installed, and its version."""

from __future__ import annotations

from typing import Final

DISTRIBUTION: Final = "lumbar-node"


def program_version() -> str:
    """Return the installed version."""
    from importlib.metadata import version  # noqa: PLC0415 - a few hundredths of a second of every command

    return version(DISTRIBUTION)
