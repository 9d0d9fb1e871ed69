"""Files of a result: digests, one page, closed surfaces."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pydicom.dataset import Dataset

from dicomseg.draw.solid_files import stl_bytes
from node.verify import check_files
from node.verify.objects import ResultSet
from tests.support import result_sets
from tests.support.meshes import mesh_of

CUBE = np.array([[x, y, z] for x in (0, 1) for y in (0, 1) for z in (0, 1)], float)
FACES = np.array(
    [[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1],
     [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]]
)  # fmt: skip


def stl(faces: np.ndarray = FACES) -> bytes:
    return stl_bytes([mesh_of(CUBE[faces])])


def test_a_closed_cube_has_no_fault_and_two_beside_each_other_neither() -> None:
    assert list(check_files.mesh_faults(stl())) == []
    both = np.concatenate([CUBE[FACES], CUBE[FACES] + 5.0])
    assert list(check_files.mesh_faults(stl_bytes([mesh_of(both)]))) == []


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (stl(FACES[1:]), "not closed: 3 edges"),
        (stl(np.vstack([FACES[:1, ::-1], FACES[1:]])), "not closed"),
        (stl(FACES[:, ::-1]), "inside outside"),
        (stl()[:-1], "no binary STL"),
        (b"solid cube", "no binary STL"),
        (bytes(84), "without triangles"),
        (stl()[:96] + b"\xff" * 4 + stl()[100:], "no numbers"),
    ],
    ids=["hole", "one face turned", "all turned", "cut", "text", "empty", "no number"],
)
def test_a_broken_surface(content: bytes, fault: str) -> None:
    (found,) = check_files.mesh_faults(content)
    assert fault in found


def _encapsulated(sop_class: str, content: bytes) -> Dataset:
    ds = Dataset()
    ds.SOPClassUID, ds.EncapsulatedDocumentLength = sop_class, len(content)
    ds.EncapsulatedDocument = content + b"\0" * (len(content) % 2)
    return ds


PDF = "1.2.840.10008.5.1.4.1.1.104.1"
PAGE = b"<< /Type /Page /Parent 2 0 R >>"


@pytest.mark.parametrize(
    ("content", "fault"),
    [
        (b"%PDF-1.4 << /Type /Pages /Count 1 >> " + PAGE + b"\n%%EOF\n", None),
        (b"%PDF-1.4 << /Type /Pages >> " + PAGE * 2 + b"\n%%EOF\n", "of 2 pages"),
        (b"%PDF-1.4 << /Type /Pages >>\n%%EOF\n", "of 0 pages"),
        (b"%PDF-1.4 " + PAGE, "holds no PDF"),
        (b"\x89PNG " + PAGE + b"%%EOF", "holds no PDF"),
    ],
)
def test_the_document_is_a_pdf_of_one_page(content: bytes, fault: str | None) -> None:
    results = ResultSet(Path(), {}, {"report.dcm": _encapsulated(PDF, content)})
    found = [text for _, text in check_files.documents_have_a_page(results)]
    assert (found == []) if fault is None else (fault in found[0])


def test_surfaces_in_an_object_and_beside_it(tmp_path: Path) -> None:
    (tmp_path / "surfaces").mkdir()
    (tmp_path / "surfaces" / "l4.stl").write_bytes(stl(FACES[1:]))
    ds = _encapsulated("1.2.840.10008.5.1.4.1.1.104.3", stl(FACES[:, ::-1]))
    results = ResultSet(tmp_path, {}, {"surface.dcm": ds})
    names = [name for name, _ in check_files.surfaces_are_closed(results)]
    assert names == ["surface.dcm", "surfaces/l4.stl"]


@pytest.fixture
def copied(results: ResultSet, tmp_path: Path) -> ResultSet:
    return result_sets.copied(results, tmp_path / "result")


def _faults(results: ResultSet) -> list[tuple[str, str]]:
    return list(check_files.files_are_those_written(results))


def test_files_that_are_those_written(copied: ResultSet) -> None:
    assert _faults(copied) == []


def test_a_file_that_is_changed_gone_or_added(copied: ResultSet) -> None:
    path = copied.folder / "seg.dcm"
    path.write_bytes(path.read_bytes()[:-2] + b"\1\0")
    (copied.folder / "volumes.dcm").unlink()
    (copied.folder / "more.dcm").write_bytes(b"")
    assert [(n, t.split(":")[0]) for n, t in _faults(copied)] == [
        ("seg.dcm", "is not the file that was written"),
        ("volumes.dcm", "is listed in result.json and is not there"),
        ("more.dcm", "is not listed in result.json"),
    ]


def test_another_object_under_a_name(copied: ResultSet) -> None:
    copied.objects["seg.dcm"].SOPInstanceUID = "1.2"
    assert _faults(copied) == [("seg.dcm", "SOPInstanceUID is not that of result.json")]


@pytest.mark.parametrize("name", ["../other.dcm", "/etc/passwd"])
def test_a_listed_path_outside_the_folder_is_not_read(copied: ResultSet, name: str) -> None:
    entry = {**copied.result["objects"][0], "file": name}
    results = ResultSet(copied.folder, {"objects": [entry]}, {})
    assert _faults(results)[0] == (name, "result.json lists a file outside the folder, or a link")
    assert json.dumps(_faults(results))
