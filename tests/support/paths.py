"""Where the repository and the data beside it lie."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).resolve().parents[2]
SHARED: Final = ROOT.parent / "shared"
"""Real data and tools; absent where only the repository was cloned."""


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and tools beside the repository."""
    if not (SHARED / "data").is_dir():
        pytest.skip("needs the folder shared/ beside the repository")
    return SHARED
