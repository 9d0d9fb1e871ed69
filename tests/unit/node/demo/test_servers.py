from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from node.demo import servers
from node.demo.servers import Running, ServerFailed, wait_until_ready


def _running(log: Path, code: int | None) -> Running:
    process: Any = SimpleNamespace(poll=lambda: code)
    return Running("lumbar-node", process, log)


def test_a_node_is_ready_when_its_log_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = tmp_path / "node.log"
    log.write_text('{"event": "NodeStarted"}\n')
    waits: list[float] = []

    def sleep(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 3:
            log.write_text('{"event": "NodeStarted"}\n{"workers": 1, "event": "NodeReady"}\n')

    monkeypatch.setattr(servers.time, "sleep", sleep)
    wait_until_ready(_running(log, None))
    assert len(waits) == 3


@pytest.mark.parametrize("code", [None, 6], ids=["too slow", "ended"])
def test_a_node_that_is_never_ready_is_a_fault_with_the_end_of_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int | None
) -> None:
    monkeypatch.setattr(servers, "WARM_TIMEOUT_S", 0.1)
    log = tmp_path / "node.log"
    log.write_text("worker: the bundle is damaged\n")
    with pytest.raises(ServerFailed, match=r"not ready(.|\n)*the bundle is damaged"):
        wait_until_ready(_running(log, code))
