"""Folders of corrections: segmentations, our own and the images, as a study that `lumbar-train import --dicom` reads.

Files are second names of those in the spool (hard links): they cost no space while those are there, and stay when
those are purged.
"""

from __future__ import annotations

import errno
import json
import os
import shutil
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from node.durable import (
    PART,
    copy_durably,
    move_durably,
    private_folder,
    unfinished_folder,
    write_durably,
)
from node.store.layout import StateDirectory

RESULT: Final = "result.dcm"
"""Our own segmentation, which says where the disc is when no reader drew it."""
RECORD: Final = "correction.json"
_NO_LINKS: Final = frozenset({errno.EXDEV, errno.EPERM, errno.EOPNOTSUPP, errno.EMLINK})


def entry_of(digest: str) -> str:
    """Return the name of the folder of a segmentation. digest: of its data set."""
    return digest[:24]


def file_of(digest: str) -> str:
    """Return the name of a segmentation in such a folder. digest: of its data set."""
    return f"segmentation-{digest[:8]}.dcm"


@dataclass(frozen=True, slots=True)
class CorrectionFolders:
    """The folders below `corrections/` of a state folder."""

    state: Path

    @property
    def accepted(self) -> Path:
        """What is to be imported: one folder per series."""
        return StateDirectory(self.state).corrections / "accepted"

    @property
    def replaced(self) -> Path:
        """What a later correction of the same series replaced."""
        return StateDirectory(self.state).corrections / "replaced"

    def publish(self, entry: str, files: Mapping[str, Path], record: Mapping[str, Any]) -> Path:
        """Make the folder of an accepted correction; one of this name is made again. files: by name. Raises OSError."""
        private_folder(self.accepted)
        target = self.accepted / entry
        for stale in (target, self.replaced / entry):
            shutil.rmtree(stale, ignore_errors=True)
        with unfinished_folder(target, self.accepted / f".{entry}{PART}") as part:
            for name, source in files.items():
                _link(source, part / name)
            write_durably(part / RECORD, (json.dumps(record, indent=1) + "\n").encode())
        return target

    def remove(self, entry: str) -> None:
        """Remove the folder of a correction, wherever it is; its name first, so that half of one is never imported."""
        for area in (self.accepted, self.replaced):
            part = area / f".{entry}{PART}"
            if (area / entry).is_dir():
                shutil.rmtree(part, ignore_errors=True)
                move_durably(area / entry, part)
            shutil.rmtree(part, ignore_errors=True)

    def keep_only(self, entries: Collection[str]) -> int:
        """Move every accepted folder that is not among these behind; returns how many. Half of one is removed."""
        moved = 0
        for folder in sorted(self.accepted.iterdir()) if self.accepted.is_dir() else ():
            if folder.name.endswith(PART):
                shutil.rmtree(folder, ignore_errors=True)
            elif folder.is_dir() and folder.name not in entries:
                private_folder(self.replaced)
                target = self.replaced / folder.name
                shutil.rmtree(target, ignore_errors=True)
                move_durably(folder, target)
                moved += 1
        return moved


def _link(source: Path, target: Path) -> None:
    """Give a file a second name; where the file system has none, copy it."""
    try:
        os.link(source, target)
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        copy_durably(source, target)
