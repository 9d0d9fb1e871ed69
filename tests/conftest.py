"""What every test may use: the fixtures of tests/support, the data beside the repository, strict DICOM."""

from __future__ import annotations

import pydicom.config
import pytest

pytest.register_assert_rewrite("tests.support")  # before one of them imports another
pytest_plugins = (
    "tests.support.browser",
    "tests.support.certificates",
    "tests.support.clock",
    "tests.support.corrections",
    "tests.support.exported_study",
    "tests.support.journals",
    "tests.support.listening",
    "tests.support.mr_series",
    "tests.support.paths",
    "tests.support.phantoms",
    "tests.support.prepared_cases",
    "tests.support.purging",
    "tests.support.raw_peer",
    "tests.support.result_sets",
    "tests.support.reviewing",
    "tests.support.sandboxed",
    "tests.support.scans",
    "tests.support.scheduling",
    "tests.support.shapes",
    "tests.support.sites",
    "tests.support.studio",
    "tests.support.threaded_node",
    "tests.support.visits",
    "tests.support.followups",
)


QUICK_TIERS = ("unit", "docs")
SLOW = ("slow", "serial", "servers", "browser")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark as quick what `make test-quick` runs, on every core at once."""
    for item in items:
        tier = item.path.relative_to(config.rootpath / "tests").parts[0]
        if tier in QUICK_TIERS and not any(item.get_closest_marker(m) for m in SLOW):
            item.add_marker("quick")


@pytest.fixture(scope="session", autouse=True)
def _strict_pydicom() -> None:
    """What we write must be valid; reading hostile headers stays lenient."""
    pydicom.config.settings.writing_validation_mode = pydicom.config.RAISE
