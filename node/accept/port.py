"""What a test works with: the destination with the way back from it, and who hears of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from node.accept.checks import Check
from node.accept.retrieve import Retriever
from node.config.destinations import DestinationConfig
from node.deliver.port import Destination


class Reporter(Protocol):
    """Hears what happens, for a terminal."""

    def stage(self, text: str) -> None:
        """Hear what begins."""
        ...

    def count(self, number: int, of: int) -> None:
        """Hear how far it is."""
        ...

    def check(self, check: Check) -> None:
        """Hear one check."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Peer:
    """The destination under test, how objects come back from it, and its section of the configuration."""

    config: DestinationConfig
    destination: Destination
    retriever: Retriever
