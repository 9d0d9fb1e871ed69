"""The container image: built without a network by the same script, run read-only without capabilities."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from node.free_ports import free_ports
from tests.support.containers import LIMITS, PODMAN, call

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(2400)]

NAME = "lumbar-node-test"
RUN = (
    "run", "--detach", "--replace", "--name", NAME, "--network", "host", "--read-only", "--cap-drop", "all",
    "--security-opt", "no-new-privileges", "--tmpfs=/tmp", *LIMITS,
)  # fmt: skip


def until(true: object, seconds: float) -> None:
    assert callable(true)
    ends_at = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < ends_at, "it did not happen in time"
        time.sleep(0.5)


def memory_mb() -> float:
    """Resident memory of all processes of the container."""
    inside = "cat /proc/[0-9]*/smaps_rollup"
    said = call(*PODMAN, "exec", NAME, "sh", "-c", inside, check=False).stdout
    return sum(int(x.split()[1]) for x in said.splitlines() if x.startswith("Pss:")) / 1000


def test_study_goes_through_a_container_without_rights(image: str, site_study: list[Path]) -> None:
    (port,) = free_ports(1)
    settings = (f"LUMBAR_NODE__NODE__PORT={port}", "LUMBAR_NODE__NODE__HOST=127.0.0.1")
    began = time.monotonic()
    call(*PODMAN, *RUN, *(a for s in settings for a in ("--env", s)), image)
    inside = (*PODMAN, "exec", NAME)
    try:
        until(lambda: call(*inside, "lumbar-node", "health", check=False).returncode == 0, 240)
        size = int(call(*PODMAN, "image", "inspect", "-f", "{{.Size}}", image).stdout) / 1e6
        sys.stdout.write(
            f"healthy after {time.monotonic() - began:.1f} s, image {size:.0f} MB, memory {memory_mb():.0f} MB\n"
        )
        send = ["storescu", "-aec", "LUMBARNODE", "127.0.0.1", str(port), *map(str, site_study)]
        call(*send)
        listed = (*inside, "lumbar-node", "list", "--json")
        until(lambda: '"delivered"' in call(*listed).stdout, 240)
        sys.stdout.write(f"memory after a study {memory_mb():.0f} MB\n")
        assert "CapEff:\t0000000000000000" in call(*inside, "cat", "/proc/1/status").stdout
        call(*PODMAN, "stop", "--time", "60", NAME)
        assert call(*PODMAN, "inspect", "-f", "{{.State.ExitCode}}", NAME).stdout.strip() == "0"
    finally:
        call(*PODMAN, "rm", "--force", NAME, check=False)
