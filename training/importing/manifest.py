"""`manifest.json`: the imported cases of a folder, their source, licence and digests.

Replaced after every case, so that an interrupted import resumes.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from training.errors import ImportRefused

NAME: Final = "manifest.json"
SCHEMA: Final = 1
_LOCK: Final = ".import.lock"


@dataclass(frozen=True, slots=True)
class ManifestEntry:
    """One imported case.

    source: dicom, dicomweb or volumes. labels_by: how the labels were drawn, if known. imported: day
    of the import, ISO 8601; no date of the source. files: sha256 by file name. image_key, source_key:
    keyed digests of the voxels, and of files, patient and table; meaningless without the secret.
    """

    case: str
    patient: str
    source: str
    licence: str
    labelled: tuple[str, ...]
    labels_by: str
    imported: str
    files: Mapping[str, str]
    image_key: str
    source_key: str


@dataclass(frozen=True, slots=True)
class Manifest:
    """All entries of a folder, in the order of their cases."""

    entries: tuple[ManifestEntry, ...] = ()

    def by_source(self, source_key: str) -> ManifestEntry | None:
        """Return the case made from these files with this table."""
        return next((e for e in self.entries if e.source_key == source_key), None)

    def by_image(self, image_key: str) -> ManifestEntry | None:
        """Return the case that holds this image."""
        return next((e for e in self.entries if e.image_key == image_key), None)

    def with_entry(self, entry: ManifestEntry) -> Manifest:
        """Return the manifest with this entry added or replaced."""
        kept = [e for e in self.entries if e.case != entry.case]
        return Manifest(tuple(sorted([*kept, entry], key=lambda e: e.case)))


def file_sha256(file: Path) -> str:
    """Return the sha256 of a file's bytes."""
    with file.open("rb") as read:
        return hashlib.file_digest(read, "sha256").hexdigest()


def read_manifest(folder: Path) -> Manifest:
    """Read a folder's manifest; cases whose files are missing or changed are left out, so that they are rebuilt.

    Raises:
        ImportRefused: it is not a manifest of this schema.
    """
    file = folder / NAME
    if not file.exists():
        return Manifest()
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        entries = [
            ManifestEntry(**{**e, "labelled": tuple(e["labelled"])}) for e in content["cases"]
        ]
        schema = content["schema"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ImportRefused(
            f"{file}: not a manifest ({type(error).__name__}); restore it or use an empty folder"
        ) from error
    if schema != SCHEMA:
        raise ImportRefused(f"{file}: schema {schema}, not {SCHEMA}; use an empty folder")
    return Manifest(tuple(e for e in entries if _are_intact(folder, e.files)))


def _are_intact(folder: Path, files: Mapping[str, str]) -> bool:
    return all(
        (folder / name).is_file() and file_sha256(folder / name) == digest
        for name, digest in files.items()
    )


def write_manifest(manifest: Manifest, folder: Path) -> None:
    """Write the manifest, complete or not at all."""
    body: dict[str, Any] = {"schema": SCHEMA, "cases": [asdict(e) for e in manifest.entries]}
    unfinished = folder / f"{NAME}.unfinished"
    unfinished.write_text(json.dumps(body, indent=1) + "\n", encoding="utf-8")
    unfinished.replace(folder / NAME)


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the folder for one import.

    Raises:
        ImportRefused: another import writes there.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / _LOCK).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise ImportRefused(
                f"{folder}: another import is writing there; wait for its end"
            ) from error
        yield
