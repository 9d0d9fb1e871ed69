"""Pages of OHIF: when one is ready, what it shows, and the pixels of its screenshot."""

from __future__ import annotations

import os
from collections.abc import Sequence
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

PICTURES = os.environ.get("OHIF_PICTURES")
"""Folder that keeps a screenshot of every case."""

READY = """(count) => {
  if (!window.services || services.measurementService.getMeasurements().length !== count) return false;
  const shown = services.cornerstoneViewportService;
  if (!shown.getCornerstoneViewport('lumbar-lines') || !shown.getCornerstoneViewport('lumbar-slices')) return false;
  const texts = [...document.querySelectorAll('svg.svg-layer text')];
  if (texts.length !== count || texts.some((t) => !(t.getAttribute('fill') || '').startsWith('rgb('))) return false;
  const [one] = services.segmentationService.getSegmentationRepresentations('lumbar-slices');
  return Boolean(one) && document.querySelectorAll('[data-cy="lumbar-card"]').length === 1;
}"""
"""Whether everything of a result is drawn: the texts have the colours that they get last."""

SHOWN = """() => {
  const box = (e) => { const r = e.getBoundingClientRect(); return [r.left, r.top, r.right, r.bottom]; };
  const text = (e) => e.innerText || e.textContent || '';
  const all = (selector, within = document) => [...within.querySelectorAll(selector)];
  const view = (id) => services.cornerstoneViewportService.getCornerstoneViewport(id);
  const [lines, slices] = ['lumbar-lines', 'lumbar-slices'].map(view);
  const corner = box(lines.element);
  const screen = (point) => lines.worldToCanvas(point).map((v, k) => v + corner[k]);
  const measurements = services.measurementService.getMeasurements();
  const rows = all('[data-cy^="measurement-table-row-"]').map((row) => [
    text(row.querySelector('[data-cy="data-row-title"]')),
    text(row.querySelector('[data-cy="data-row-detail-line"]') || document.createElement('i')),
  ]);
  const canvas = lines.canvas;
  const copy = document.createElement('canvas');
  [copy.width, copy.height] = [canvas.width, canvas.height];
  copy.getContext('2d').drawImage(canvas, 0, 0);
  const data = copy.getContext('2d').getImageData(0, 0, copy.width, copy.height).data;
  let lit = 0;
  for (let n = 0; n < data.length; n += 4) if (data[n] > 40) lit += 1;
  const { voiRange } = slices.getProperties();
  return {
    rows,
    ends: Object.fromEntries(measurements.filter((m) => m.toolName === 'Length').map((m) => [m.label, m.points.map(screen)])),
    points: Object.fromEntries(measurements.map((m) => [m.label, m.points])),
    texts: all('svg.svg-layer text').map((t) => [all('tspan', t).map(text), box(t)]),
    panes: [box(lines.element), box(slices.element)],
    overlays: all('[data-cy="viewport-overlay-top-left"]').map(text),
    card: text(document.querySelector('[data-cy="lumbar-card"]')),
    links: all('[data-cy="lumbar-card"] a').map((a) => a.href),
    segments: all('[data-cy="data-row-title"]').map(text),
    slice: slices.getCurrentImageId(),
    window: [voiRange.lower, voiRange.upper],
    lit: lit / (data.length / 4),
  };
}"""


def keep_picture(name: str, content: bytes) -> None:
    """Keep a screenshot where the environment names a folder for them."""
    if PICTURES and name:
        Path(PICTURES).mkdir(parents=True, exist_ok=True)
        (Path(PICTURES) / f"{name}.png").write_bytes(content)


def pixels_of(content: bytes) -> NDArray[np.uint8]:
    """Pixels of a PNG (rows, columns, 3)."""
    image = pytest.importorskip("PIL.Image")
    return np.asarray(image.open(BytesIO(content)).convert("RGB"))


def near(
    pixels: NDArray[np.uint8], point: Sequence[float], colour: Sequence[int], reach: int = 4
) -> float:
    """Distance in colour of the pixel next to a point (x, y) that is most like a colour."""
    x, y = (round(v) for v in point)
    part = pixels[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1].astype(int)
    return float(np.abs(part - np.array(colour)).max(axis=-1).min())


def count_of(pixels: NDArray[np.uint8], box: Sequence[float], colour: Sequence[int]) -> int:
    """Number of pixels in a box (left, top, right, bottom) that have a colour."""
    left, top, right, bottom = (round(v) for v in box)
    part = pixels[top:bottom, left:right].astype(int)
    return int((np.abs(part - np.array(colour)).max(axis=-1) < 14).sum())


def overlap(a: Sequence[float], b: Sequence[float]) -> bool:
    """Whether two boxes (left, top, right, bottom) share a point."""
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def crosses(box: Sequence[float], ends: Sequence[Sequence[float]]) -> bool:
    """Whether a line between two points passes a box."""
    along = np.linspace(ends[0], ends[1], 60)
    inside = (
        (along[:, 0] > box[0])
        & (along[:, 0] < box[2])
        & (along[:, 1] > box[1])
        & (along[:, 1] < box[3])
    )
    return bool(inside.any())
