"""What every test may use: the fixtures of tests/support, the data beside the repository, strict DICOM."""

from __future__ import annotations

from pathlib import Path

import pydicom.config
import pytest

from tests.support.paths import ROOT, SHARED

pytest_plugins = (
    "tests.support.dicomseg",
    "tests.support.node",
    "tests.support.phantoms",
    "tests.support.sites",
    "tests.support.training",
)


QUICK_TIERS = ("unit", "docs")
SLOW = ("slow", "serial", "servers", "browser")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as quick what `make test-quick` runs, on every core at once."""
    for item in items:
        tier = item.path.relative_to(ROOT / "tests").parts[0]
        if tier in QUICK_TIERS and not any(item.get_closest_marker(m) for m in SLOW):
            item.add_marker("quick")


@pytest.fixture(scope="session", autouse=True)
def _strict_pydicom() -> None:
    """What we write must be valid; reading hostile headers stays lenient."""
    pydicom.config.settings.writing_validation_mode = pydicom.config.RAISE


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and tools beside the repository."""
    if not (SHARED / "data").is_dir():
        pytest.skip("needs the folder shared/ beside the repository")
    return SHARED
