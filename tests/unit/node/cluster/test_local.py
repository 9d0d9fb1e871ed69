from __future__ import annotations

import pytest

from node.cluster.local import LocalEngine
from node.cluster.port import Task
from tests.support.machines import INFO, image, model


def test_memory_that_runs_out_is_not_an_answer() -> None:
    def full(*_: object) -> None:
        raise MemoryError

    engine = LocalEngine(model, full)  # type: ignore[arg-type]
    engine.submit(Task("w1", 1, image(), INFO, 60.0))
    with pytest.raises(MemoryError):
        engine.poll(1.0)


def test_closing_forgets_what_waits() -> None:
    engine = LocalEngine(model)
    engine.submit(Task("w1", 1, image(), INFO, 60.0))
    engine.close()
    assert list(engine.poll(1.0)) == []
