"""What every test may use: the data beside the repository, and loud DICOM libraries."""

from __future__ import annotations

from pathlib import Path

import pydicom.config
import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session", autouse=True)
def _strict_pydicom() -> None:
    """What we write must be valid; reading hostile headers stays lenient."""
    pydicom.config.settings.writing_validation_mode = pydicom.config.RAISE


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and tools beside the repository."""
    folder = ROOT.parent / "shared"
    if not (folder / "data").is_dir():
        pytest.skip("needs the folder shared/ beside the repository")
    return folder
