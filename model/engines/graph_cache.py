"""Converted networks on disk, so that a bundle is converted once per version of OpenVINO."""

from __future__ import annotations

import json
import os
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class GraphCache:
    """Converted graphs in a folder, one file for each bundle digest and version of OpenVINO.

    A file is a zip, so that a damaged one fails its checksum, and names its digest inside.
    """

    folder: Path
    digest: str
    version: str

    @property
    def path(self) -> Path:
        """File of this bundle's graph."""
        return self.folder / f"{self.digest}-openvino-{self.version.replace('/', '_')}.zip"

    def read(self) -> tuple[bytes, bytes] | None:
        """Return topology and weights; None when the file is missing, damaged or another bundle's."""
        try:
            with zipfile.ZipFile(self.path) as file:
                if json.loads(file.read("about.json")) != self._about():
                    return None
                return file.read("graph.xml"), file.read("graph.bin")
        except (OSError, ValueError, LookupError, zipfile.BadZipFile, NotImplementedError):
            return None

    def write(self, topology: bytes, weights: bytes) -> None:
        """Write the graph completely or not at all.

        Raises:
            OSError: the folder cannot be written.
        """
        self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        handle, name = tempfile.mkstemp(prefix=".", suffix=".part", dir=self.folder)
        try:
            with os.fdopen(handle, "wb") as raw, zipfile.ZipFile(raw, "w") as file:
                file.writestr("about.json", json.dumps(self._about()))
                file.writestr("graph.xml", topology)
                file.writestr("graph.bin", weights)
            Path(name).replace(self.path)
        except BaseException:
            Path(name).unlink(missing_ok=True)
            raise

    def _about(self) -> dict[str, str]:
        return {"digest": self.digest, "openvino": self.version}
