"""What is asked of a source: the port `Source`, what its queries tell, and the limits that every source obeys."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date
from typing import Final, Protocol

MOST_STUDIES: Final = 5_000
"""Studies of one query: a large hospital has some hundred a day."""
MOST_SERIES: Final = 2_000
"""Series of one study that are looked at."""
MOST_INSTANCES: Final = 20_000
"""Objects of one series that are looked at."""
MOST_ANSWER_BYTES: Final = 64_000_000
"""Bytes of the answers to the queries over one connection: an answer has some hundred."""
QUERY_S: Final = 600.0
"""Longest time of the queries about one study, or of one rule."""
FETCH_S: Final = 1800.0
"""Longest time of one retrieval; what is missing then is asked for at the next try."""
MOST_FOREIGN: Final = 16
"""Objects that were not asked for, after which a retrieval is ended: each of them is refused."""
AT_ONCE: Final = 64
"""Objects that one retrieval names where not the complete series is fetched."""


class SourceFault(Exception):
    """A source does not answer, refuses, or answers what it must not: what and what to check, without patient data."""


@dataclass(frozen=True, slots=True)
class FoundStudy:
    """A study as a query answers it. modalities: () where it does not say."""

    study: str
    modalities: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class FoundSeries:
    """A series as a query answers it; "" is what the source does not say."""

    series: str
    modality: str = ""
    description: str = ""
    protocol: str = ""
    body_part: str = ""


@dataclass(frozen=True, slots=True)
class FoundInstance:
    """An object as a query answers it; sop_class: "" where the source does not say."""

    sop_instance: str
    sop_class: str = ""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is fetched of one series. complete: nothing of it is here, so that the series itself may be named."""

    study: str
    series: str
    instances: tuple[FoundInstance, ...]
    complete: bool

    def parts(self) -> tuple[Wanted, ...]:
        """Return what one retrieval each names: the series, or some of its objects."""
        if self.complete:
            return (self,)
        return tuple(
            Wanted(self.study, self.series, self.instances[n : n + AT_ONCE], False)
            for n in range(0, len(self.instances), AT_ONCE)
        )


@dataclass(frozen=True, slots=True)
class Declared:
    """What a source declares of an object that it brings."""

    sop_class: str
    sop_instance: str
    transfer_syntax: str


Keep = Callable[[Declared, Iterable[memoryview]], str]
"""Keeps one object; returns why it was not kept, "" when it was."""


class Inquiry(Protocol):
    """Queries over one connection. Every method raises `SourceFault`."""

    def studies(self, first: date, last: date) -> Sequence[FoundStudy]:
        """Return the studies of these study dates."""
        ...

    def series(self, study: str) -> Sequence[FoundSeries]:
        """Return the series of a study, () when the source does not have it."""
        ...

    def instances(self, study: str, series: str) -> Sequence[FoundInstance]:
        """Return the objects of a series."""
        ...


class Source(Protocol):
    """A PACS that is asked and fetched from. stopped: whether the node ends."""

    @property
    def name(self) -> str:
        """Name in the configuration and the journal."""
        ...

    def asking(self) -> AbstractContextManager[Inquiry]:
        """Open a connection for queries. Raises `SourceFault`."""
        ...

    def fetch(self, wanted: Wanted, keep: Keep) -> str:
        """Retrieve; returns what went wrong with single objects, "" when nothing did. Raises `SourceFault`."""
        ...

    def echo(self) -> str:
        """Ask whether it answers, and for what; nothing is fetched. Raises `SourceFault`."""
        ...
