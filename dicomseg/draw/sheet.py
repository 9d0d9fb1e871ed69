"""`Sheet`: one A4 figure on which everything is placed in millimetres from the top left corner."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from threading import RLock
from typing import Any, Final

import numpy as np
from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import FancyBboxPatch, Rectangle
from matplotlib.patheffects import withStroke
from matplotlib.text import Text

from dicomseg.draw.fonts import COMPLETE, FONT, register
from dicomseg.draw.layout import DPI, LEFT, PAGE_MM, PAGE_PX, RIGHT, Box, pixels
from dicomseg.draw.looks import FAINT, INK, NIGHT
from dicomseg.volume import Array

_MM_PER_INCH: Final = 25.4
_LEAST_SHRINK: Final = 0.6
"""A text that is too wide is set smaller, down to this share, and then shortened."""
_STYLE: Final[Any] = {
    "font.family": [FONT, COMPLETE],
    "pdf.fonttype": 42,
    "pdf.compression": 6,
    "axes.unicode_minus": False,
    "text.usetex": False,
    "text.parse_math": False,
}


_ONE_AT_A_TIME: Final = RLock()
"""matplotlib keeps its settings, and what it knows of fonts, for the process and not for a thread."""


@contextmanager
def page_style() -> Iterator[None]:
    """Draw with the page's settings of matplotlib, in one thread at a time."""
    with _ONE_AT_A_TIME, rc_context(_STYLE):
        yield


def halo(width: float = 2.2, colour: str = NIGHT) -> list[Any]:
    """Return the effect that keeps a sign readable on any grey."""
    return [withStroke(linewidth=width, foreground=colour)]


class Sheet:
    """The figure. Texts are set inside `page_style()`; `pixels` and `pdf` enter it themselves."""

    def __init__(self) -> None:
        register()
        width, height = (px / DPI for px in PAGE_PX)
        self.figure = Figure(figsize=(width, height), facecolor="white", dpi=DPI)
        self.canvas: Any = FigureCanvasAgg(self.figure)

    def axes(self, box: Box) -> Axes:
        """Add axes without ticks, on the pixels of `layout.pixels`."""
        left, top, across, down = pixels(box)
        width, height = PAGE_PX
        bounds = (left / width, 1 - (top + down) / height, across / width, down / height)
        axes = self.figure.add_axes(bounds)
        axes.set_xticks([])
        axes.set_yticks([])
        return axes

    def text(self, x: float, y: float, text: str, size: float = 7.5, **style: Any) -> Text:
        """Write a text with its base line at y."""
        width, height = PAGE_MM
        style.setdefault("color", INK)
        return self.figure.text(x / width, 1 - y / height, text, fontsize=size, **style)

    def fitted(
        self, x: float, y: float, text: str, size: float, width: float, **style: Any
    ) -> Text:
        """Write a text that becomes smaller, then shorter, rather than wider than `width`."""
        written = self.text(x, y, text, size, **style)
        shrunk = max(
            min(size, size * width / max(self.width_of(written), 1e-6)), size * _LEAST_SHRINK
        )
        written.set_fontsize(shrunk)
        while self.width_of(written) > width and shrunk > size * _LEAST_SHRINK:
            shrunk *= (
                0.98  # letters are placed on pixels, so that width does not follow size exactly
            )
            written.set_fontsize(shrunk)
        while self.width_of(written) > width and len(written.get_text()) > 4:
            written.set_text(written.get_text()[:-2].rstrip("… ") + "…")
        return written

    def width_of(self, text: Text) -> float:
        """Return the width of a text in mm."""
        extent = text.get_window_extent(self.canvas.get_renderer())
        return float(extent.width) / DPI * _MM_PER_INCH

    def wrapped(self, text: str, size: float, width: float) -> list[str]:
        """Break a text into lines of at most `width`."""
        lines, probe = [""], self.text(0, 0, "", size)
        for word in text.split():
            longer = f"{lines[-1]} {word}".strip()
            probe.set_text(longer)
            if lines[-1] and self.width_of(probe) > width:
                lines.append(word)
            else:
                lines[-1] = longer
        probe.remove()
        return lines

    def rule(self, y: float, colour: str = FAINT, width: float = 0.6) -> None:
        """Draw a line across the page."""
        page_width, page_height = PAGE_MM
        ends, height = [LEFT / page_width, RIGHT / page_width], 1 - y / page_height
        self.figure.add_artist(Line2D(ends, [height, height], color=colour, linewidth=width))

    def box(self, box: Box, fill: str, edge: str = "none", *, is_round: bool = False) -> None:
        """Draw a filled rectangle."""
        width, height = PAGE_MM
        corner = (box.x / width, 1 - box.bottom / height)
        size = (box.width / width, box.height / height)
        style: dict[str, Any] = {"facecolor": fill, "edgecolor": edge, "linewidth": 0.6}
        style["transform"] = self.figure.transFigure
        if is_round:
            shape = "round,pad=0,rounding_size=0.003"
            self.figure.add_artist(FancyBboxPatch(corner, *size, boxstyle=shape, **style))
        else:
            self.figure.add_artist(Rectangle(corner, *size, **style))

    def pixels(self) -> Array:
        """Return the page as RGB uint8 (rows, columns, 3)."""
        with page_style():
            self.canvas.draw()
        rgba = np.asarray(self.canvas.buffer_rgba())
        return np.ascontiguousarray(rgba[..., :3])

    def pdf(self, title: str) -> bytes:
        """Return the page as PDF with embedded fonts; the same page gives the same bytes."""
        out = BytesIO()
        fixed = dict.fromkeys(("CreationDate", "ModDate", "Producer"))
        metadata = fixed | {"Creator": "lumbar-node", "Title": title}
        with page_style():
            self.figure.savefig(out, format="pdf", dpi=DPI, metadata=metadata)
        return out.getvalue()
