"""STL and glTF, read back by readers of a few lines."""

from __future__ import annotations

import json

import numpy as np
import pytest

from dicomseg.draw.solid_files import glb_bytes, stl_bytes
from dicomseg.draw.surface import build_surfaces, is_closed, signed_volume
from dicomseg.structures import SEGMENTS
from tests.support.meshes import read_stl
from tests.support.pages import patient


def test_an_stl_holds_the_triangles_in_patient_millimetres() -> None:
    mesh = build_surfaces(patient()[0].sides)[8]
    content = stl_bytes([mesh])
    assert len(content) == 84 + 50 * len(mesh.faces)
    assert not content.startswith(b"solid")  # readers would take it for text
    normals, corners = read_stl(content)
    assert np.array_equal(corners, mesh.vertices_lps[mesh.faces])
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    area = np.linalg.norm(across, axis=1)
    large = area > 1e-3
    assert np.einsum("ij,ij->i", across, normals)[large] == pytest.approx(area[large], rel=1e-3)


def test_one_file_holds_several_surfaces() -> None:
    meshes = build_surfaces(patient()[0].sides)
    _, corners = read_stl(stl_bytes(list(meshes.values())))
    points, number = np.unique(corners.reshape(-1, 3), axis=0, return_inverse=True)
    volume = signed_volume(points, number.reshape(-1, 3))
    assert volume / 1000 == pytest.approx(sum(m.volume_ml for m in meshes.values()), rel=1e-4)


def test_a_gltf_has_every_segment_with_name_and_colour_head_up_in_metres() -> None:
    meshes = build_surfaces(patient()[0].sides)
    content = glb_bytes(meshes)
    magic, version, length = np.frombuffer(content[:12], "<u4")
    assert (magic.tobytes(), version, length) == (b"glTF", 2, len(content))
    size = int(np.frombuffer(content[12:16], "<u4")[0])
    assert size % 4 == 0
    scene, binary = json.loads(content[20 : 20 + size]), content[28 + size :]
    assert scene["buffers"] == [{"byteLength": len(binary)}]
    labels = {s.number: s.label for s in SEGMENTS}
    assert [n["name"] for n in scene["nodes"]] == [labels[n] for n in sorted(meshes)]
    for node, number in zip(scene["nodes"], sorted(meshes), strict=True):
        (primitive,) = scene["meshes"][node["mesh"]]["primitives"]
        points = accessor(scene, binary, primitive["attributes"]["POSITION"], "<f4").reshape(-1, 3)
        faces = accessor(scene, binary, primitive["indices"], "<u4").reshape(-1, 3)
        mesh = meshes[number]
        left, back, head = mesh.vertices_lps.T / 1000
        assert points == pytest.approx(np.stack([left, head, -back], axis=1), abs=1e-6)
        assert is_closed(faces)
        assert signed_volume(points * 1000, faces) / 1000 == pytest.approx(mesh.volume_ml, rel=1e-3)
    colours = {tuple(m["pbrMetallicRoughness"]["baseColorFactor"]) for m in scene["materials"]}
    assert len(colours) >= 5
    glass = [m["name"] for m in scene["materials"] if m.get("alphaMode") == "BLEND"]
    assert glass == ["Psoas major, left", "Psoas major, right"]


def accessor(scene: dict, binary: bytes, number: int, kind: str) -> np.ndarray:
    item = scene["accessors"][number]
    view = scene["bufferViews"][item["bufferView"]]
    assert view["byteOffset"] % 4 == 0
    values = np.frombuffer(
        binary[view["byteOffset"] : view["byteOffset"] + view["byteLength"]], kind
    )
    assert len(values) == item["count"] * {"VEC3": 3, "SCALAR": 1}[item["type"]]
    return values
