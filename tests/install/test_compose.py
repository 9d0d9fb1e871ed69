"""compose.yaml as podman-compose reads it: a study sent to Orthanc goes to the node, its results come back.

Orthanc is Debian's here, configured by the same variables; the viewer of its own image is not in it.
"""

from __future__ import annotations

import json
import shutil
import time
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from node.demo import servers
from tests.support.containers import BASE, BUNDLE, LIMITS, PODMAN, PODMAN_ARGUMENTS, call
from tests.support.debian import needs
from tests.support.paths import ROOT

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(2400)]

ORTHANC = "localhost/lumbar-node-test-orthanc"
PROJECT = "lumbar-node-test"
CONTAINERFILE = f"""
FROM {BASE}
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends orthanc orthanc-dicomweb
COPY orthanc_entry.py /
ENTRYPOINT ["python3", "/orthanc_entry.py"]
"""
HTTP, DICOM, NODE = 8042, 4242, 11112
"""What compose.yaml publishes."""


@pytest.fixture(scope="module")
def orthanc(image: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image of Orthanc on the same bare Debian."""
    folder = tmp_path_factory.mktemp("orthanc")
    (folder / "Containerfile").write_text(CONTAINERFILE, encoding="utf-8")
    shutil.copy2(ROOT / "tests/install/orthanc_entry.py", folder)
    built = call("buildah", "bud", "--isolation", "chroot", "--layers=false", "-t", ORTHANC, str(folder), check=False)  # fmt: skip
    if built.returncode != 0:
        pytest.skip(f"no image of Orthanc can be made here: {built.stderr[-200:]}")
    return ORTHANC


def _modalities() -> set[str]:
    found = urllib.request.urlopen(f"http://127.0.0.1:{HTTP}/series?expand", timeout=20).read()
    series: list[dict[str, Any]] = json.loads(found)
    return {s["MainDicomTags"]["Modality"] for s in series}


def test_services_of_the_compose_file_work_together(orthanc: str, site_study: list[Path]) -> None:
    needs("podman-compose")
    taken = [port for port in (HTTP, DICOM, NODE) if servers.listens(port)]
    if taken:
        pytest.skip(f"ports of compose.yaml are in use here: {taken}")
    compose = (
        "podman-compose", "-f", str(BUNDLE / "image/compose.yaml"), "-p", PROJECT,
        f"--podman-args={' '.join(PODMAN_ARGUMENTS)}", f"--podman-run-args={' '.join(LIMITS)}",
    )  # fmt: skip
    call(*compose, "up", "-d", ORTHANC_IMAGE=orthanc)
    try:
        ends_at = time.monotonic() + 240
        while not (servers.answers(f"http://127.0.0.1:{HTTP}/system") and servers.listens(DICOM)):
            assert time.monotonic() < ends_at, call(*compose, "logs", check=False).stdout[-2000:]
            time.sleep(0.5)
        call("storescu", "-aec", "ORTHANC", "127.0.0.1", str(DICOM), *map(str, site_study))
        while not {"SEG", "SR"} <= _modalities():
            assert time.monotonic() < ends_at + 240, call(*compose, "logs", check=False).stdout[-2000:]  # fmt: skip
            time.sleep(1)
    finally:
        call(*compose, "down", "--volumes", check=False, ORTHANC_IMAGE=orthanc)
        # podman-compose leaves it.
        call(*PODMAN, "network", "rm", "--force", f"{PROJECT}_default", check=False)
