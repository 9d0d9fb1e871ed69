"""Checks of the files of a result: digests, the document in `report.dcm`, the surfaces."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import numpy as np

from dicomseg.read import attributes
from node.verify.check_identity import Complaint
from node.verify.classes import PDF, STL
from node.verify.objects import ResultSet

_PAGE: Final = re.compile(rb"/Type\s*/Page\b(?!s)")
_SUFFIXES: Final = frozenset({".dcm", ".stl", ".glb"})
_TRIANGLE: Final = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("extra", "<u2")])
"""PS3.3 A.85: binary STL; 50 bytes for each triangle after a header of 84."""


def files_are_those_written(results: ResultSet) -> Iterator[Complaint]:
    """Find files that are gone, changed or not listed in `result.json`."""
    result = results.result
    listed = {str(o["file"]): o for o in (*result["objects"], *result.get("files", ()))}
    for name, entry in listed.items():
        path = results.folder / name
        if Path(name).is_absolute() or ".." in Path(name).parts or path.is_symlink():
            yield name, "result.json lists a file outside the folder, or a link"
        elif not path.is_file():
            yield name, "is listed in result.json and is not there"
        else:
            yield from _changed(results, name, entry)
    for path in sorted(results.folder.rglob("*")):
        name = path.relative_to(results.folder).as_posix()
        if path.suffix in _SUFFIXES and name not in listed:
            yield name, "is not listed in result.json"


def _changed(results: ResultSet, name: str, entry: Any) -> Iterator[Complaint]:
    with (results.folder / name).open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    if digest != entry["sha256"]:
        yield name, "is not the file that was written: its digest differs from that in result.json"
    ds = results.objects.get(name)
    for keyword, key in (("SOPClassUID", "sop_class"), ("SOPInstanceUID", "sop_instance")):
        if ds is not None and key in entry and attributes.text(ds, keyword) != entry[key]:
            yield name, f"{keyword} is not that of result.json"


def documents_have_a_page(results: ResultSet) -> Iterator[Complaint]:
    """Find encapsulated PDFs that are no PDF of one page."""
    for name, ds in results.objects.items():
        if attributes.text(ds, "SOPClassUID") not in PDF:
            continue
        content = _document(ds)
        if not content.startswith(b"%PDF-") or b"%%EOF" not in content[-1024:]:
            yield name, "holds no PDF"
        elif len(_PAGE.findall(content)) != 1:
            yield name, f"holds a PDF of {len(_PAGE.findall(content))} pages instead of one"


def surfaces_are_closed(results: ResultSet) -> Iterator[Complaint]:
    """Find surfaces with a hole, with inconsistent triangles or with the inside outside."""
    for name, ds in results.objects.items():
        if attributes.text(ds, "SOPClassUID") in STL:
            yield from ((name, text) for text in mesh_faults(_document(ds)))
    for path in sorted(results.folder.glob("*/*.stl")):
        name = path.relative_to(results.folder).as_posix()
        yield from ((name, text) for text in mesh_faults(path.read_bytes()))


def mesh_faults(stl: bytes) -> Iterator[str]:
    """Yield what is wrong with a binary STL: every edge belongs to two triangles that run it in opposite directions."""
    count = int.from_bytes(stl[80:84], "little")
    if len(stl) < 84 or len(stl) != 84 + 50 * count:
        yield "holds no binary STL"
        return
    corners = np.frombuffer(stl, _TRIANGLE, count, 84)["corners"]
    if count == 0 or not np.isfinite(corners).all():
        yield "a surface without triangles, or with corners that are no numbers"
        return
    _, index = np.unique(corners.reshape(-1, 3), axis=0, return_inverse=True)
    faces = index.reshape(-1, 3)
    edges = np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    forward = Counter(map(tuple, edges.tolist()))
    holes = sum(n != forward.get((b, a), 0) for (a, b), n in forward.items())
    if holes:
        yield f"a surface that is not closed: {holes} edges belong to one triangle only"
    wide = corners.astype(float)
    volume = np.einsum("ij,ij->", wide[:, 0], np.cross(wide[:, 1], wide[:, 2])) / 6.0
    if volume <= 0:
        yield "a surface with its inside outside"


def _document(ds: Any) -> bytes:
    """The encapsulated document, without the byte that makes its length even."""
    content = bytes(ds.EncapsulatedDocument)
    return content[: int(ds.get("EncapsulatedDocumentLength", len(content)))]
