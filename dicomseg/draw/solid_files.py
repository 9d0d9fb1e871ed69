"""Surfaces as files: binary STL in LPS mm, and binary glTF with names and colours."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np

from dicomseg.draw.looks import LOOKS
from dicomseg.draw.spatial import GLASS
from dicomseg.draw.surface import Mesh
from dicomseg.structures import SEGMENTS, Segment
from dicomseg.volume import Array

STL_HEADER: Final = b"lumbar-node L4/5 surfaces, LPS millimetres, research use only"
_TRIANGLE: Final = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("extra", "<u2")])
_FROM_LPS: Final = np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.0, -1.0, 0.0]]) / 1000.0
"""Rows: x to the patient's left, y to the head, z to the front, in metres, as glTF wants them."""
_GLASS_ALPHA: Final = 0.35
_FLOAT: Final = 5126
_UINT: Final = 5125
_VERTICES: Final = 34962
_INDICES: Final = 34963
_MAGIC: Final = 0x46546C67
_JSON: Final = 0x4E4F534A
_BINARY: Final = 0x004E4942


def stl_bytes(meshes: Sequence[Mesh]) -> bytes:
    """Return closed surfaces as one binary STL, in LPS mm, normals outwards."""
    corners = [mesh.vertices_lps[mesh.faces] for mesh in meshes]
    triangles = np.concatenate(corners).astype("<f4") if corners else np.zeros((0, 3, 3), "<f4")
    normals = np.cross(triangles[:, 1] - triangles[:, 0], triangles[:, 2] - triangles[:, 0])
    records = np.zeros(len(triangles), _TRIANGLE)
    records["normal"] = normals / np.maximum(
        np.linalg.norm(normals, axis=1, keepdims=True), np.float32(1e-12)
    )
    records["corners"] = triangles
    count = np.array([len(triangles)], "<u4").tobytes()
    return STL_HEADER.ljust(80, b" ") + count + records.tobytes()


def glb_bytes(meshes: Mapping[int, Mesh]) -> bytes:
    """Return the surfaces by segment number as one binary glTF 2.0, each a named and coloured node."""
    shown = [s for s in SEGMENTS if s.number in meshes]
    blocks: list[bytes] = []
    scene: dict[str, Any] = {
        "asset": {"version": "2.0", "generator": "lumbar-node", "extras": {"use": "research only"}},
        "scene": 0,
        "scenes": [{"nodes": list(range(len(shown)))}],
        "nodes": [{"name": s.label, "mesh": n} for n, s in enumerate(shown)],
        "meshes": [],
        "materials": [_material(s) for s in shown],
        "accessors": [],
        "bufferViews": [],
    }
    for n, segment in enumerate(shown):
        mesh = meshes[segment.number]
        points = (mesh.vertices_lps.astype(np.float64) @ _FROM_LPS.T).astype("<f4")
        limits = {"min": points.min(axis=0).tolist(), "max": points.max(axis=0).tolist()}
        position = _add(scene, blocks, points, (_VERTICES, _FLOAT, "VEC3"), limits)
        indices = mesh.faces.astype("<u4").ravel()
        order = _add(scene, blocks, indices, (_INDICES, _UINT, "SCALAR"), {})
        primitive = {"attributes": {"POSITION": position}, "indices": order, "material": n}
        scene["meshes"].append({"name": segment.label, "primitives": [primitive]})
    binary = b"".join(blocks)
    scene["buffers"] = [{"byteLength": len(binary)}]
    text = json.dumps(scene, separators=(",", ":"), sort_keys=True).encode()
    text += b" " * (-len(text) % 4)
    chunks = _chunk(_JSON, text) + _chunk(_BINARY, binary)
    return np.array([_MAGIC, 2, 12 + len(chunks)], "<u4").tobytes() + chunks


def _material(segment: Segment) -> dict[str, Any]:
    name = segment.structure.id
    alpha = _GLASS_ALPHA if name in GLASS else 1.0
    # colours of glTF are linear, ours are sRGB
    linear = [round(((c + 0.055) / 1.055) ** 2.4, 4) for c in LOOKS[name].rgb]
    surface = {"baseColorFactor": [*linear, alpha], "metallicFactor": 0.0, "roughnessFactor": 0.6}
    mode = {"alphaMode": "BLEND"} if name in GLASS else {}
    return {"name": segment.label, "pbrMetallicRoughness": surface, **mode}


def _add(
    scene: dict[str, Any],
    blocks: list[bytes],
    values: Array,
    kind: tuple[int, int, str],
    limits: Mapping[str, Any],
) -> int:
    """Append values to the buffer; returns the number of their accessor."""
    target, component, shape = kind
    start = sum(map(len, blocks))
    blocks.append(values.tobytes())
    view = {"buffer": 0, "byteOffset": start, "byteLength": len(blocks[-1]), "target": target}
    scene["bufferViews"].append(view)
    accessor = {"bufferView": len(scene["bufferViews"]) - 1, "componentType": component}
    scene["accessors"].append(accessor | {"count": len(values), "type": shape, **limits})
    return len(scene["accessors"]) - 1


def _chunk(kind: int, content: bytes) -> bytes:
    return np.array([len(content), kind], "<u4").tobytes() + content
