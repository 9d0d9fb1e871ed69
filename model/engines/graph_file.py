"""A converted network as one file: the graph, an image, and what torch computed of it."""

from __future__ import annotations

import io
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from dicomseg.volume import Array
from model.errors import BundleError

_MADE: Final = (1980, 1, 1, 0, 0, 0)
"""Time of every member: the same graph makes the same bytes, and so the same digest."""


@dataclass(frozen=True, slots=True, eq=False)
class ConvertedGraph:
    """A graph in OpenVINO's own form, which holds no code, and the answer by which it is checked.

    topology, weights: XML and raw numbers. inputs: the fixed image (N, 1, D, H, W) float32 and, where the network takes
    one, its guidance. expected: torch's output for them.
    """

    topology: bytes
    weights: bytes
    inputs: tuple[Array, ...]
    expected: Array

    def write(self, path: Path) -> None:
        """Write the file; the same graph makes the same bytes."""
        arrays = {"expected": self.expected, **{_input(n): a for n, a in enumerate(self.inputs)}}
        members = {"graph.xml": self.topology, "graph.bin": self.weights}
        members |= {f"{name}.npy": _to_bytes(array) for name, array in arrays.items()}
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as file:
            for name, content in members.items():
                member = zipfile.ZipInfo(name, _MADE)
                member.compress_type = zipfile.ZIP_DEFLATED
                file.writestr(member, content)

    @classmethod
    def read(cls, path: Path) -> ConvertedGraph:
        """Read the file.

        Raises:
            BundleError: it is missing, damaged, or not such a file.
        """
        try:
            with zipfile.ZipFile(path) as file:
                topology, weights = file.read("graph.xml"), file.read("graph.bin")
                count = sum(name.startswith("input") for name in file.namelist())
                inputs = tuple(_array(file, _input(n)) for n in range(count))
                return cls(topology, weights, inputs, _array(file, "expected"))
        except (
            OSError,
            ValueError,
            LookupError,
            EOFError,
            NotImplementedError,
            zlib.error,
            zipfile.BadZipFile,
        ) as error:
            line = (str(error).splitlines() or [type(error).__name__])[0]
            raise BundleError(
                f"{path} cannot be read ({line}); restore the bundle from its source"
            ) from error


def _input(number: int) -> str:
    return f"input{number}"


def _to_bytes(array: Array) -> bytes:
    content = io.BytesIO()
    np.save(content, array, allow_pickle=False)
    return content.getvalue()


def _array(file: zipfile.ZipFile, name: str) -> Array:
    return np.asarray(np.load(io.BytesIO(file.read(f"{name}.npy")), allow_pickle=False))
