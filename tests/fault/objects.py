"""Series to be sent: copies of one small label-coded phantom, each with UIDs of its own."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian

from dicomseg.read import parsing
from model.bundle.write import write_coded_bundle
from training.phantom.study import StudyOptions, write_study

FEW: Final = range(3)
"""Objects of a series that is too short for a result."""
GAP: Final = (*range(11), *range(12, 24))
"""Objects of a series that stays incomplete."""

SEED: Final = 18
SLICES: Final = 24
MATRIX: Final = 48


@dataclass(frozen=True)
class Instance:
    """One object: its data set as it is sent, and what stands before it in a file."""

    sop_class: str
    sop_instance: str
    data: bytes
    head: bytes = b""
    syntax: str = str(ExplicitVRLittleEndian)

    @classmethod
    def of_file(cls, sop_class: str, sop_instance: str, content: bytes) -> Instance:
        """Take a file apart."""
        at = parsing.split_file_meta(content)[0]
        return cls(sop_class, sop_instance, content[at:], content[:at])

    @property
    def file(self) -> bytes:
        """The file."""
        return self.head + self.data

    @cached_property
    def digest(self) -> str:
        """sha256 of the data set."""
        return hashlib.sha256(self.data).hexdigest()


@dataclass(frozen=True)
class Series:
    """A series with all of its objects."""

    study: str
    series: str
    instances: tuple[Instance, ...]

    def write(self, folder: Path) -> list[Path]:
        """Write the files, for a sender that reads files."""
        folder.mkdir(parents=True, exist_ok=True)
        paths = [folder / f"{n:03}.dcm" for n in range(len(self.instances))]
        for path, instance in zip(paths, self.instances, strict=True):
            path.write_bytes(instance.file)
        return paths


@dataclass(frozen=True)
class Stock:
    """The phantom, of which any number of series is made, and the bundle whose engine reads it."""

    original: Series
    bundle: Path
    folder: Path

    @classmethod
    def of(cls, folder: Path) -> Stock:
        """Make it in a folder, or find it there."""
        series = folder / "phantom"
        if not (folder / "bundle" / "card.json").exists():
            write_coded_bundle(folder / "bundle")
        if not series.exists():
            options = StudyOptions(slices=SLICES, matrix=MATRIX, coded=True, oblique=True)
            made = write_study(folder / "making", SEED, options)
            made.rename(series)
        instances = []
        study = number = ""
        for path in sorted((series / "t2_space").glob("*.dcm")):
            ds = dcmread(path, stop_before_pixels=True)
            study, number = str(ds.StudyInstanceUID), str(ds.SeriesInstanceUID)
            instances.append(
                Instance.of_file(str(ds.SOPClassUID), str(ds.SOPInstanceUID), path.read_bytes())
            )
        return cls(Series(study, number, tuple(instances)), folder / "bundle", folder)

    def series(self, name: str, chosen: Sequence[int] | None = None) -> Series:
        """Make the series of this name, the same each time: all UIDs are new ones of the old length.

        chosen: numbers of its objects, all where there is none.
        """
        old = self.original
        new = {uid: _renamed(uid, name) for uid in (old.study, old.series)}
        instances = []
        for number in range(len(old.instances)) if chosen is None else chosen:
            instance = old.instances[number]
            uids = {**new, instance.sop_instance: _renamed(instance.sop_instance, name)}
            instances.append(
                Instance(
                    instance.sop_class,
                    uids[instance.sop_instance],
                    _replaced(instance.data, uids),
                    _replaced(instance.head, uids),
                )
            )
        return Series(new[old.study], new[old.series], tuple(instances))


def _renamed(uid: str, name: str) -> str:
    digits = str(int(hashlib.sha512(f"{uid}/{name}".encode()).hexdigest(), 16))
    return f"2.25.{digits}"[: len(uid)]


def _replaced(content: bytes, uids: dict[str, str]) -> bytes:
    for old, new in uids.items():
        content = content.replace(old.encode(), new.encode())
    return content


def in_turn(series: Sequence[Series]) -> list[Instance]:
    """The objects of several series, one of each after the other."""
    longest = max(len(s.instances) for s in series)
    return [s.instances[n] for n in range(longest) for s in series if n < len(s.instances)]
