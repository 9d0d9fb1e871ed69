"""The image and the study that the tests of containers share."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.containers import build_image
from tests.support.debian import needs
from tests.support.paths import ROOT


@pytest.fixture(scope="session")
def image(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The image of lumbar-node, on a base that is a bare Debian with python3."""
    return build_image(tmp_path_factory.mktemp("image"))


@pytest.fixture(scope="session")
def site_study(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """The images of a synthetic patient."""
    needs("storescu")
    folder = tmp_path_factory.mktemp("study")
    phantom = ["phantom", "--out", str(folder), "--cases", "1", "--seed", "5"]
    phantom += ["--slices", "64", "--matrix", "160"]
    subprocess.run([sys.executable, "-m", "training", *phantom], check=True, cwd=ROOT)
    return sorted(folder.rglob("*.dcm"))
