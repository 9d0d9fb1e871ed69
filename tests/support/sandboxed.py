"""Headers that are read in this process, for unit tests, which start none."""

from __future__ import annotations

from typing import Any

import pytest

from node.sandbox import header_process


class InProcess:
    """What `node.sandbox.child.Child` does, without a process."""

    def __init__(self, *_: object) -> None:
        pass

    def start(self) -> None:
        """Do nothing."""

    def close(self) -> None:
        """Do nothing."""

    def ask(self, question: Any) -> Any:
        """Answer at once."""
        return header_process.answer(question)


@pytest.fixture
def headers_in_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("node.sandbox.headers.Child", InProcess)
