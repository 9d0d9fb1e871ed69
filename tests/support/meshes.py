"""Whether points lie inside closed surfaces."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from dicomseg.draw.surface import Mesh
from dicomseg.volume import Volume


def winding(points: np.ndarray, mesh: Mesh) -> np.ndarray:
    """Winding number of each point (n, 3): 1 inside an outward surface, 0 outside."""
    corners = mesh.vertices_lps[mesh.faces].astype(np.float64)
    out = np.empty(len(points))
    for n, point in enumerate(points):
        a, b, c = (corners[:, k] - point for k in range(3))
        la, lb, lc = (np.linalg.norm(v, axis=1) for v in (a, b, c))
        top = np.einsum("ij,ij->i", a, np.cross(b, c))
        dots = [np.einsum("ij,ij->i", u, v) for u, v in ((a, b), (b, c), (c, a))]
        bottom = la * lb * lc + dots[0] * lc + dots[1] * la + dots[2] * lb
        out[n] = 2 * np.arctan2(top, bottom).sum() / (4 * np.pi)
    return out


def share_inside(mesh: Mesh, points: np.ndarray) -> float:
    """Share of LPS points (n, 3) that a surface encloses."""
    return float((winding(points, mesh) > 0.5).mean())


def shares(mesh: Mesh, mask: np.ndarray, volume: Volume) -> tuple[float, float]:
    """Share of points well inside the mask, and well outside it, that the mesh encloses."""
    rng = np.random.default_rng(0)
    inner = np.argwhere(ndimage.binary_erosion(mask))
    far = ndimage.binary_dilation(mask, iterations=2)
    outer = np.argwhere(ndimage.binary_dilation(far, iterations=3) & ~far)
    picked = [rng.choice(points, 40) for points in (inner, outer)]
    inside, outside = (share_inside(mesh, volume.to_patient(p)) for p in picked)
    return inside, outside


def read_stl(content: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Normals (n, 3) and corners (n, 3, 3) of a binary STL."""
    count = int(np.frombuffer(content[80:84], "<u4")[0])
    kind = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("extra", "<u2")])
    records = np.frombuffer(content[84:], kind)
    assert len(records) == count
    return records["normal"], records["corners"]


def mesh_of(corners: np.ndarray) -> Mesh:
    """A surface of separate triangles (n, 3, 3)."""
    points, number = np.unique(corners.reshape(-1, 3), axis=0, return_inverse=True)
    return Mesh(points, number.reshape(-1, 3).astype(np.int32))
