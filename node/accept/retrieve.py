"""Bring objects back from a destination into a folder: by C-GET, WADO-RS, or from the folder that it is."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol

from node.deliver.port import ResultFile

SIZE_LIMIT: Final = 1 << 30
"""Bytes that one test takes from a destination: thirty times what it sends."""
Progress = Callable[[int, int], None]
"""Is given how many objects came, of how many."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """An object that was sent."""

    study: str
    series: str
    sop_instance: str
    sop_class: str
    file: ResultFile

    @classmethod
    def of(cls, file: ResultFile) -> Wanted:
        """Make it from a file that was sent."""
        return cls(file.study, file.series, file.sop_instance, file.sop_class, file)


@dataclass(frozen=True, slots=True)
class Fetched:
    """What came back. files: by SOP instance. how: the service that brought it. fault: why not all came."""

    how: str
    files: Mapping[str, Path]
    fault: str = ""
    offered: bool = True
    """False where the destination has no such service, or the configuration rules it out."""


class Retriever(Protocol):
    """A way to get objects back."""

    def fetch(self, wanted: Sequence[Wanted], folder: Path, progress: Progress) -> Fetched:
        """Write every object that comes into `folder`; never raises for what the peer does."""
        ...


@dataclass(frozen=True, slots=True)
class FolderRetriever:
    """Copies from a folder destination."""

    root: Path

    def fetch(self, wanted: Sequence[Wanted], folder: Path, progress: Progress) -> Fetched:
        """Read every file where `kind = "folder"` puts it."""
        found: dict[str, Path] = {}
        for number, one in enumerate(wanted, 1):
            source = self.root / one.file.path.parent.name / one.file.name
            try:
                target = folder / f"{number:05d}.dcm"
                target.write_bytes(source.read_bytes())
            except OSError as error:
                return Fetched("from the folder", found, f"{source}: {error.strerror}")
            found[one.sop_instance] = target
            progress(number, len(wanted))
        return Fetched("from the folder", found)
