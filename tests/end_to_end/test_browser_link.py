"""From the scanner to the screen: the link that `lumbar-node why` prints opens the node's own result in OHIF."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from node.demo import ohif, servers
from node.free_ports import free_ports
from tests.support.browser import Look
from tests.support.paths import ROOT

pytestmark = [pytest.mark.browser, pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(600)]


def _queried(here: Any, *arguments: str) -> Any:
    command = [servers.command("lumbar-node"), *arguments, "--config", str(here.config), "--json"]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=60)
    return json.loads(done.stdout)


def test_the_printed_link_opens_lines_and_segments(
    site: Callable[..., Any], coded: Any, oracle_bundle: Path, look: Look
) -> None:
    dist = ohif.built(ROOT / ".cache" / "ohif")
    if dist is None or shutil.which("storescu") is None:
        pytest.skip("needs OHIF (sh orthanc/ohif.sh .cache/ohif) and DCMTK (apt install dcmtk)")
    (port,) = free_ports(1)
    settings = f'[results]\nviewer = "{ohif.link_template(port)}"\n'
    here = site(bundle=oracle_bundle, with_pacs=True, extra=settings)
    here.send(coded.files)
    (row,) = here.wait(1)
    assert row.state == "delivered", row.reason
    (listed,) = _queried(here, "list")
    (explained,) = _queried(here, "why", row.key.series)
    assert listed["link"] == explained["results"][-1]["link"]
    app = ohif.application(dist, ohif.SCRIPTS, here.ports.pacs_url)
    served = ohif.serve(app, port)
    try:
        seen = look(listed["link"], "link")
    finally:
        served.stop()
    true = coded.facts["measurements"]
    assert sorted(title.split(",")[0] for title, _ in seen.page["rows"]) == sorted(true)
    for title, points in seen.page["points"].items():
        length = float(np.linalg.norm(np.subtract(*points)))
        assert abs(length - true[title.split(",")[0]]["value_mm"]) < 0.1
    assert {"L4/5 disc", "Psoas major, left", "Psoas major, right"} <= set(seen.page["segments"])
    assert seen.console == []
