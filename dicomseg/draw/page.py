"""`draw_page`: one A4 page to plan with, as pixels and as PDF of the same drawing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np

from dicomseg.draw import layout
from dicomseg.draw.beside import Beside, later
from dicomseg.draw.english import ENGLISH
from dicomseg.draw.fonts import can_show
from dicomseg.draw.heading import Heading
from dicomseg.draw.layout import Box
from dicomseg.draw.lines import draw_lines, draw_refusals
from dicomseg.draw.looks import INK, PALE_RED, RED, SOFT
from dicomseg.draw.plan import Plan, build_plan
from dicomseg.draw.planar import (
    View,
    draw_names,
    draw_plane,
    draw_ruler,
    draw_slice,
    draw_trace,
    letter,
    show_grey,
)
from dicomseg.draw.reformat import Window
from dicomseg.draw.sheet import Sheet, page_style
from dicomseg.draw.spatial import (
    camera_of,
    draw_front,
    draw_view,
    render_front,
    render_view,
)
from dicomseg.draw.surface import Mesh
from dicomseg.draw.tables import draw_foot, draw_plan_rows, draw_values, draw_warnings
from dicomseg.draw.texts import Texts
from dicomseg.result import Plane, Result
from dicomseg.segmentation import Segmentation
from dicomseg.volume import Array, Volume, to_point


@dataclass(frozen=True, slots=True, eq=False)
class PageInput:
    """Everything on the page. shown: the measured plane, or the one to show where none was determined.

    volume: grey values of the source. meshes: surfaces by segment number, as `build_surfaces` makes them.
    """

    volume: Volume
    segmentation: Segmentation
    result: Result
    shown: Plane
    meshes: Mapping[int, Mesh]
    heading: Heading
    texts: Texts = ENGLISH


@dataclass(frozen=True, slots=True, eq=False)
class Page:
    """The page as RGB uint8 (rows, columns, 3) at `layout.DPI`, and as PDF."""

    rgb: Array
    pdf: bytes


def draw_page(inputs: PageInput, beside: Beside = later) -> Page:
    """Draw the page; the same input gives the same pixels and bytes.

    beside: where the 3D views and the PDF are worked out.
    """
    sheet = compose(inputs, beside)
    pdf = beside(partial(sheet.pdf, inputs.texts.title))
    return Page(sheet.pixels(), pdf())


def compose(inputs: PageInput, beside: Beside = later) -> Sheet:
    """Set the page. `pixels` and `pdf` of the sheet draw it, each when it is wanted and in any order."""
    with page_style():
        return _composed(inputs, beside)


def _composed(inputs: PageInput, beside: Beside) -> Sheet:
    sheet, result, texts = Sheet(), inputs.result, inputs.texts
    plan, meshes = build_plan(inputs.segmentation, result.measurements, inputs.shown), inputs.meshes
    oblique = camera_of(layout.VIEW, plan, front=False)
    front = camera_of(layout.FRONT, plan, front=True)
    views = beside(lambda: (render_view(meshes, plan, oblique), render_front(meshes, front)))
    _head(sheet, inputs)
    window = _midplane(sheet, inputs, plan)
    _plain(sheet, inputs, plan, window)
    _upright(sheet, inputs, plan, window)
    view, vessels = views()
    draw_view(sheet.axes(layout.VIEW), oblique, view, meshes, texts)
    _caption(sheet, layout.VIEW, "B", texts)
    draw_front(sheet.axes(layout.FRONT), front, vessels, plan, texts)
    _caption(sheet, layout.FRONT, "F", texts)
    draw_values(sheet, result, texts)
    draw_plan_rows(sheet, plan, result, texts)
    draw_warnings(sheet, result, texts)
    made = texts.made.format(created=inputs.heading.created, result=result.result_id[:12])
    draw_foot(sheet, result, inputs.heading.model, made, texts)
    return sheet


def _head(sheet: Sheet, inputs: PageInput) -> None:
    heading, texts, source = inputs.heading, inputs.texts, inputs.result.source
    sheet.text(layout.LEFT, layout.HEAD_TITLE, texts.title, 17, weight="bold")
    badge = layout.HEAD_BADGE
    sheet.box(badge, PALE_RED, RED, is_round=True)
    middle, base = badge.x + badge.width / 2, badge.bottom - 1.25
    sheet.text(middle, base, texts.badge, 7, color=RED, weight="bold", ha="center")
    sheet.text(badge.x + badge.width + 2.6, base, texts.subtitle, 7.5, color=SOFT)
    name = next((n for n in heading.names if n and can_show(n)), texts.anonymous)
    identity = texts.identity.format(
        id=heading.patient_id if can_show(heading.patient_id) else "?",
        born=heading.born or "–",
        study=heading.study_date or "–",
    )
    spacing = " × ".join(f"{mm:.2f}" for mm in sorted(source.spacing_mm))
    description = heading.description if can_show(heading.description) else ""
    count = source.shape[0]
    series = texts.series.format(description=description, count=count, spacing=spacing)
    for text, y, size, width, style in zip(
        (name, identity, series),
        layout.HEAD_LINES,
        (11, 7.5, 7.5),
        layout.HEAD_WIDTHS,
        ({"weight": "bold"}, {"color": SOFT}, {"color": SOFT}),
        strict=True,
    ):
        sheet.fitted(layout.RIGHT, y, text, size, width, ha="right", **style)
    sheet.rule(layout.HEAD_RULE, INK, 0.9)


def _caption(sheet: Sheet, box: Box, key: str, texts: Texts) -> None:
    caption = texts.captions[key]
    y = box.bottom
    sheet.fitted(box.x, y + layout.CAPTION_TITLE, caption.title, 7.4, box.width, weight="bold")
    sheet.fitted(box.x, y + layout.CAPTION_MORE, caption.more, 5.9, box.width, color=SOFT)


def _middle(plan: Plan) -> tuple[float, float]:
    """Middle of the disc on the plane, (a, b) in mm; the plane's point where no disc was found."""
    if plan.disc is None:
        return 0.0, 0.0
    a0, b0, a1, b1 = plan.disc.polygon.bounds
    return (a0 + a1) / 2, (b0 + b1) / 2


def _midplane(sheet: Sheet, inputs: PageInput, plan: Plan) -> Window:
    """Panel A."""
    box, texts, measurements = layout.MIDPLANE, inputs.texts, inputs.result.measurements
    half = layout.HALF_MIDPLANE_MM
    a, b = _middle(plan)
    tops = [s.polygon.bounds[1] for k in ("ivd", "aa", "ivc") for s in plan.sections[k]]
    front = min([*(t - layout.HEAD_ROOM_MM for t in tops), b - 40.0])
    view = View(plan.plane, (a, front + half * box.height / box.width), half)
    axes = sheet.axes(box)
    window = show_grey(axes, inputs.volume, view, box)
    draw_plane(axes, plan)
    labels = draw_lines(sheet, axes, plan, measurements, texts)
    draw_refusals(sheet, axes, measurements, texts)
    draw_names(axes, plan, texts, labels)
    words = texts.directions
    for text, x, y in (
        (words.right, 0.015, 0.1),
        (words.left, 0.985, 0.1),
        (words.back, 0.5, 0.015),
    ):
        letter(axes, text, x, y)
    draw_ruler(axes, texts)
    _caption(sheet, box, "A" if measurements.plane is not None else "A refused", texts)
    return window


def _plain(sheet: Sheet, inputs: PageInput, plan: Plan, window: Window) -> None:
    """Panel C."""
    axes, (a, b) = sheet.axes(layout.PLAIN), _middle(plan)
    view = View(plan.plane, (a, b - 10.0), layout.HALF_PLAIN_MM)
    show_grey(axes, inputs.volume, view, layout.PLAIN, window)
    words = inputs.texts.directions
    for text, x in ((words.right, 0.03), (words.left, 0.97)):
        letter(axes, text, x, 0.5)
    draw_ruler(axes, inputs.texts)
    _caption(sheet, layout.PLAIN, "C", inputs.texts)


def _upright(sheet: Sheet, inputs: PageInput, plan: Plan, window: Window) -> None:
    """Panels D and E: sagittal and coronal through the middle of the disc, head up."""
    a, b = _middle(plan)
    axes_lps = np.array([plan.plane.e_left, plan.plane.e_back])
    point = to_point(np.array(plan.plane.point_lps) + np.array([a, b]) @ axes_lps)
    left, back, down = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, -1.0)
    words, seg = inputs.texts.directions, inputs.segmentation
    for key, box, plane, half, shift, ends in (
        (
            "D",
            layout.SAGITTAL,
            Plane(point, left, back, down),
            layout.HALF_SAGITTAL_MM,
            -6.0,
            (words.front, words.back),
        ),
        (
            "E",
            layout.CORONAL,
            Plane(point, back, left, down),
            layout.HALF_CORONAL_MM,
            0.0,
            (words.right, words.left),
        ),
    ):
        axes, view = sheet.axes(box), View(plane, (shift, 0.0), half)
        show_grey(axes, inputs.volume, view, box, window)
        draw_slice(axes, seg, view, box)
        draw_trace(axes, view, plan.plane)
        for text, x, y in ((ends[0], 0.03, 0.5), (ends[1], 0.97, 0.5), (words.head, 0.5, 0.985)):
            letter(axes, text, x, y)
        draw_ruler(axes, inputs.texts)
        _caption(sheet, box, key, inputs.texts)
