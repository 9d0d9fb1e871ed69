"""The page by its content: texts, places, colours; never by its existence."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import combinations
from typing import Any, TypeVar

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.text import Text
from shapely.geometry import LineString, box

from dicomseg.draw import layout
from dicomseg.draw.english import ENGLISH
from dicomseg.draw.german import GERMAN
from dicomseg.draw.layout import Box
from dicomseg.draw.looks import CORRIDOR, LOOKS, NOT_IMAGED
from dicomseg.draw.page import PageInput, compose, draw_page
from dicomseg.draw.plan import build_plan
from dicomseg.draw.sheet import Sheet, page_style
from dicomseg.draw.spatial import camera_of
from dicomseg.draw.wording import value_text
from dicomseg.measure.plane import to_plane
from dicomseg.result import Measurements
from dicomseg.segmentation import Finding
from tests.support.pages import GREYS, page_input, patient, with_refusals

T = TypeVar("T")


def composed(inputs: PageInput) -> Sheet:
    sheet = compose(inputs)
    with page_style():
        sheet.canvas.draw()
    return sheet


def texts_of(sheet: Sheet) -> list[Text]:
    inside = [t for axes in sheet.figure.axes for t in axes.texts]
    return [t for t in (*sheet.figure.texts, *inside) if t.get_text()]


def written(sheet: Sheet) -> list[str]:
    return [t.get_text().replace("\n", " ") for t in texts_of(sheet)]


def panel(sheet: Sheet, wanted: Box) -> Axes:
    """The axes at a place of the layout."""
    left, bottom = wanted.x / layout.PAGE_MM[0], 1 - wanted.bottom / layout.PAGE_MM[1]
    (axes,) = [
        a
        for a in sheet.figure.axes
        if a.get_position().x0 == pytest.approx(left, abs=0.004)
        and a.get_position().y0 == pytest.approx(bottom, abs=0.004)
    ]
    return axes


LEAST_PT = 4.4
"""Of type that is read on paper: a footnote of a journal has 6, the numbers under the strips 4.8."""


WORST = (
    Finding("cut_by_image", "x", "warning", "pm"),
    Finding("section_left_out", "x", "warning", "aa"),
    Finding("section_reassigned", "x", "warning", "ivc"),
    Finding("thick_slices", "x", "warning"),
    Finding("plane_methods_differ", "x", "warning"),
    Finding("a_new_code", " ".join(["a long sentence of the program"] * 12), "warning"),
)


def flagged() -> Measurements:
    """All values with ranges and every flag."""
    _, own = patient()
    flags = tuple(ENGLISH.warnings.flags)
    main = {
        name: replace(m, flags=flags, uncertainty_mm=None, range_mm=(10.04, 28.96))
        for name, m in own.main.items()
    }
    return replace(own, main=main)


def refused_plane() -> Measurements:
    _, own = patient()
    refused = with_refusals(own, list(own.main), "plane_undetermined")
    return Measurements(None, refused.main)


CASES: dict[str, Any] = {
    "plain": {},
    "german": {"texts": GERMAN},
    "warnings": {"warnings": WORST},
    "flags": {"measured": flagged()},
    "german flags": {"measured": flagged(), "texts": GERMAN, "warnings": WORST},
    "one refused": {"measured": with_refusals(patient()[1], ["OC"], "cut_by_image")},
    "all refused": {
        "measured": with_refusals(patient()[1], list(patient()[1].main), "orientation_unexpected")
    },
    "no plane": {"measured": refused_plane()},
    "long names": {"names": ("Wolfeschlegelsteinhausenbergerdorff Hubert Blaine " * 3,)},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_no_text_leaves_the_page_or_covers_another(name: str) -> None:
    case = dict(CASES[name])
    sheet = composed(page_input(case.pop("measured", None), **case))
    renderer, page = sheet.canvas.get_renderer(), sheet.figure.bbox
    boxes = [(t.get_text(), t.get_window_extent(renderer)) for t in texts_of(sheet)]
    outside = [s for s, b in boxes if b.x0 < 0 or b.x1 > page.x1 or b.y0 < 0 or b.y1 > page.y1]
    assert outside == []
    on_paper = [(t.get_text(), t.get_window_extent(renderer)) for t in sheet.figure.texts]
    margin = 201 / 210 * page.x1
    assert [s for s, b in on_paper if b.x1 > margin] == []
    covered = [
        (a, b)
        for (a, p), (b, q) in combinations(on_paper, 2)
        if min(p.x1, q.x1) - max(p.x0, q.x0) > 1 and min(p.y1, q.y1) - max(p.y0, q.y0) > 2.5
    ]
    assert covered == []
    tiny = [
        (t.get_text(), t.get_fontsize()) for t in texts_of(sheet) if t.get_fontsize() < LEAST_PT
    ]
    assert tiny == []
    shortened = [s for s in written(sheet) if s.endswith("…")]
    assert len(shortened) == (name == "long names"), shortened


@pytest.mark.slow
@pytest.mark.parametrize("texts", [ENGLISH, GERMAN], ids=["en", "de"])
def test_everything_that_must_be_on_the_page_is(texts: Any) -> None:
    sheet = composed(page_input(texts=texts))
    everything = "\n".join(written(sheet))
    required = [texts.title, texts.badge, texts.disclaimer, texts.plan.heading, *texts.footnotes]
    required += [texts.captions[k].title for k in "ABCDEF"]
    required += list(texts.measurements.values())
    required += ["PHANTOM 77", "PH-77", "1970-01-01", "2030-01-02", "lumbar-l45 0.10.0", "5f3a"]
    required += [texts.warnings.supine, "Wang 2023", "Ng 2020", "Emami 2024", "Barber 2017"]
    assert [r for r in required if r not in everything] == []
    _, measured = patient()
    for name, m in measured.main.items():
        assert f"{name}  {value_text(m, texts)}" in everything
    panels = {
        layout.MIDPLANE: "RLP", layout.PLAIN: "RL", layout.SAGITTAL: "APH", layout.CORONAL: "RLH",
        layout.FRONT: "RL", layout.VIEW: "LHA",
    }  # fmt: skip
    for wanted, letters in panels.items():
        axes = panel(sheet, wanted)
        assert sorted(t.get_text() for t in axes.texts if t.get_gid() == "letter") == sorted(
            letters
        )
    assert written(sheet).count("10 mm") == 4


@pytest.mark.slow
def test_labels_lie_on_no_line_and_lines_where_they_were_measured() -> None:
    _, measured = patient()
    assert measured.plane is not None
    sheet = composed(page_input())
    axes = panel(sheet, layout.MIDPLANE)
    labels = [t for t in axes.texts if t.get_gid() == "label"]
    assert sorted(t.get_text()[:2] for t in labels) == ["DA", "DI", "OC", "PI"]
    back = axes.transData.inverted()
    lines = {
        name: to_plane(measured.plane, np.array(m.points_lps)) for name, m in measured.main.items()
    }
    drawn = [np.array(line.get_xydata()) for line in axes.lines]
    for name, ends in lines.items():
        assert any(d.shape == (2, 2) and np.allclose(d, ends) for d in drawn), name
        for label in labels:
            low, high = back.transform(label.get_window_extent(sheet.canvas.get_renderer()))
            assert not box(*low, *high).intersects(LineString(ends)), (name, label.get_text())


@pytest.mark.slow
def test_labels_names_and_letters_of_a_picture_are_inside_and_free_of_each_other() -> None:
    sheet = composed(page_input())
    renderer = sheet.canvas.get_renderer()
    names = {layout.MIDPLANE: ["Ps", "Ps"], layout.VIEW: ["A", "L4", "V", "sac"]}
    for wanted in (layout.MIDPLANE, layout.VIEW, layout.SAGITTAL, layout.CORONAL, layout.PLAIN):
        axes = panel(sheet, wanted)
        texts = [(t, t.get_window_extent(renderer)) for t in axes.texts if t.get_text()]
        frame = axes.get_window_extent(renderer)
        outside = [
            t.get_text()
            for t, b in texts
            if b.x0 < frame.x0 or b.x1 > frame.x1 or b.y0 < frame.y0 or b.y1 > frame.y1
        ]
        assert outside == [], wanted
        covered = [
            (t.get_text(), u.get_text())
            for (t, b), (u, c) in combinations(texts, 2)
            if min(b.x1, c.x1) - max(b.x0, c.x0) > 1 and min(b.y1, c.y1) - max(b.y0, c.y0) > 2.5
        ]
        assert covered == [], wanted
        named = sorted(t.get_text() for t, _ in texts if t.get_gid() == "name")
        assert set(names.get(wanted, [])) <= set(named), (wanted, named)
        if wanted != layout.VIEW:
            letters = [t for t, _ in texts if t.get_gid() in {"letter", "label"}]
            assert min(t.get_zorder() for t in letters) >= 10


def pixel(rgb: np.ndarray, axes: Axes, ab: tuple[float, float]) -> np.ndarray:
    """Colour of the page where a point of a panel is drawn."""
    x, y = axes.transData.transform(ab)
    return np.asarray(rgb[int(rgb.shape[0] - y), int(x)], int)


@pytest.mark.slow
def test_colours_of_corridor_and_outlines_are_where_their_shapes_are() -> None:
    inputs = page_input()
    seg, measured = patient()
    plan = build_plan(seg, measured, inputs.shown)
    sheet = composed(inputs)
    rgb = sheet.pixels()
    axes = panel(sheet, layout.MIDPLANE)
    assert plan.corridor is not None
    inside = plan.corridor.shape.representative_point()
    away = plan.corridor.middle_ab + 14 * plan.corridor.outwards_ab + np.array([1.5, 1.5])
    lime = 255 * np.array(to_rgb(CORRIDOR))
    for ab in ((inside.x, inside.y), tuple(away)):
        red, green, blue = pixel(rgb, axes, ab)
        assert green > blue + 30, ab
        assert green >= red
    hits = {}
    for name in ("aa", "ivc", "ivd", "dura"):
        outline = plan.sections[name][0].polygon.exterior  # type: ignore[index]
        points = [outline.interpolate(s, normalized=True) for s in np.linspace(0, 1, 60)]
        colour = 255 * np.array(to_rgb(LOOKS[name].outline))  # type: ignore[index]
        away = [np.abs(pixel(rgb, axes, (p.x, p.y)) - colour).max() for p in points]
        hits[name] = np.mean(np.array(away) < 60)
    assert min(hits.values()) > 0.4, hits  # the vein is dashed, lines cross outlines
    start, end = to_plane(inputs.shown, np.array(measured.main["OC"].points_lps))
    quarter = start + (end - start) / 4  # a leader ends on the middle
    assert np.abs(pixel(rgb, axes, tuple(quarter)) - lime).max() < 60


def expected_grey(inputs: PageInput, lps: np.ndarray) -> np.ndarray:
    """Grey values (n) of the patient's labels at LPS points (n, 3), NaN outside the image."""
    labels = inputs.segmentation.labels.volume
    index = np.rint(labels.to_index(lps)).astype(int)
    inside = np.all((index >= 0) & (index < np.array(labels.shape)), axis=-1)
    grey = np.full(len(lps), np.nan)
    grey[inside] = GREYS[labels.array[tuple(index[inside].T)]]
    return grey


@pytest.mark.slow
def test_pictures_show_the_patient_where_he_is_in_every_plane() -> None:
    """Grey values of the page against those of the labels at the same place, mirrored ones for comparison."""
    inputs = page_input()
    sheet = composed(inputs)
    rgb = sheet.pixels()
    plane = inputs.shown
    a, b = (v.ravel() for v in np.meshgrid(np.arange(-36, 37, 1.5), np.arange(-36, 26, 1.5)))
    points = np.stack([a, b], axis=1)
    left, back, down = np.eye(3) * np.array([1.0, 1.0, -1.0])[:, None]
    upright = [(layout.SAGITTAL, back, down), (layout.CORONAL, left, down)]
    flat = [
        (box, np.array(plane.e_left), np.array(plane.e_back))
        for box in (layout.MIDPLANE, layout.PLAIN)
    ]
    for wanted, across, along in (*flat, *upright):
        axes = panel(sheet, wanted)
        (a0, a1), (b1, b0) = axes.get_xlim(), axes.get_ylim()
        shown = points[(a > a0) & (a < a1) & (b > b0) & (b < b1)]
        drawn = np.array([pixel(rgb, axes, (p[0], p[1])).mean() for p in shown])
        likeness = {}
        for name, signs in {
            "own": (1, 1),
            "left to right": (-1, 1),
            "top to bottom": (1, -1),
        }.items():
            moved = shown * np.array(signs)
            lps = np.array(plane.point_lps) + moved[:, :1] * across + moved[:, 1:] * along
            grey = np.minimum(expected_grey(inputs, lps), 330)  # brighter is white
            known = np.isfinite(grey)
            likeness[name] = np.corrcoef(grey[known], drawn[known])[0, 1]
        own = likeness.pop("own")
        assert own > 0.7, (wanted, own)
        if wanted in {layout.MIDPLANE, layout.PLAIN}:
            assert own > max(likeness.values()) + 0.1, (wanted, own, likeness)


@pytest.mark.slow
@pytest.mark.parametrize("axis", [0, 1, 2], ids=["left", "back", "head"])
def test_grey_rises_towards_the_side_that_the_letters_name(axis: int) -> None:
    """A volume that becomes brighter to the left, back or head, seen in every plane."""
    inputs = page_input()
    volume = inputs.volume
    place = volume.to_patient(np.stack(np.indices(volume.shape), axis=-1))[..., axis]
    ramp = 1000 * (place - place.min()) / np.ptp(place)
    sheet = composed(replace(inputs, volume=volume.with_array(ramp.astype(np.uint16))))
    rgb = sheet.pixels()
    a, b = (v.ravel() for v in np.meshgrid(np.arange(-24, 25, 3.0), np.arange(-14, 15, 2.0)))
    rising = {}
    for name, wanted in (
        ("A", layout.MIDPLANE), ("C", layout.PLAIN), ("D", layout.SAGITTAL), ("E", layout.CORONAL),
    ):  # fmt: skip
        drawn = np.array(
            [pixel(rgb, panel(sheet, wanted), ab).mean() for ab in zip(a, b, strict=True)]
        )
        terms = np.column_stack([a, b, np.ones(len(a))])
        slope = np.linalg.lstsq(terms, drawn, rcond=None)[0]
        steep = [round(float(s) * 24 / 20) for s in slope[:2]]  # drawn lines disturb a little
        rising[name] = tuple(int(np.sign(s)) for s in steep)
    expected = [
        {"A": (1, 0), "C": (1, 0), "D": (0, 0), "E": (1, 0)},
        {"A": (0, 1), "C": (0, 1), "D": (1, 0), "E": (0, 0)},
        {"D": (0, -1), "E": (0, -1)},  # the plane itself is flat in this one
    ]
    assert {name: rising[name] for name in expected[axis]} == expected[axis]


def test_the_view_looks_from_the_patients_left_front() -> None:
    seg, measured = patient()
    assert measured.plane is not None
    plan = build_plan(seg, measured, measured.plane)
    camera, front = (camera_of(layout.VIEW, plan, front=is_front) for is_front in (False, True))
    depth = [
        float(camera.project(seg.sides.to_patient(seg.sides.where(n))).mean(axis=0)[2])
        for n in (8, 9)  # left and right psoas
    ]
    assert depth[0] > depth[1] + 20
    across = front.project(np.array(plan.plane.point_lps) + np.array([[10.0, 0, 0], [-10.0, 0, 0]]))
    assert across[0, 0] > across[1, 0]
    assert across[0, 2] == pytest.approx(across[1, 2])


@pytest.mark.slow
def test_the_view_shows_every_structure_and_the_plain_panel_nothing_drawn() -> None:
    sheet = composed(page_input())
    rgb = sheet.pixels()
    view = region(rgb, layout.VIEW)
    hue = view.astype(int)
    artery = (hue[..., 0] > hue[..., 1] + 60) & (hue[..., 0] > hue[..., 2] + 60)
    vein = (hue[..., 2] > hue[..., 0] + 40) & (hue[..., 2] > hue[..., 1] + 40)
    corridor = (hue[..., 1] > hue[..., 2] + 80) & (hue[..., 1] > hue[..., 0] + 15)
    assert artery.mean() > 0.005
    assert vein.mean() > 0.005
    assert corridor.mean() > 0.0005
    assert (view < 245).any(axis=-1).mean() > 0.15
    plain = region(rgb, layout.PLAIN)
    inner = plain[20:-40, 30:-30].astype(int)
    colourful = np.ptp(inner, axis=-1) > 25
    is_outside = np.abs(inner - np.array(NOT_IMAGED)).max(axis=-1) < 8
    assert (colourful & ~is_outside).mean() < 0.002


def region(rgb: np.ndarray, wanted: Box) -> np.ndarray:
    """The pixels of a panel."""
    scale = rgb.shape[1] / layout.PAGE_MM[0]
    rows = slice(round(wanted.y * scale), round(wanted.bottom * scale))
    return rgb[rows, round(wanted.x * scale) : round((wanted.x + wanted.width) * scale)]


@pytest.mark.slow
def test_refusals_are_on_the_picture_and_hide_no_other_line() -> None:
    _, own = patient()
    one = with_refusals(own, ["OC"], "cut_by_image")
    sheet = composed(page_input(one))
    axes = panel(sheet, layout.MIDPLANE)
    reason = ENGLISH.refusals["cut_by_image"]
    on_picture = [t.get_text().replace("\n", " ") for t in axes.texts]
    assert f"OC not measured: {reason}" in on_picture
    labels = [t.get_text()[:2] for t in axes.texts if t.get_gid() == "label"]
    assert sorted(labels) == ["DA", "DI", "PI"]
    assert written(sheet).count(ENGLISH.not_measured) == 1
    sheet = composed(page_input(refused_plane()))
    everything = "\n".join(written(sheet))
    assert ENGLISH.captions["A refused"].title in everything
    assert f"OC, DAA, DIVC, PI not measured: {ENGLISH.refusals['plane_undetermined']}" in everything
    assert written(sheet).count(ENGLISH.not_measured) == 4
    assert [t for t in panel(sheet, layout.MIDPLANE).texts if t.get_gid() == "label"] == []


@pytest.mark.slow
def test_what_does_not_fit_is_counted() -> None:
    sheet = composed(page_input(flagged(), warnings=WORST))
    (more,) = [t for t in written(sheet) if "more: see" in t]
    shown = [t for t in written(sheet) if t.startswith("• ")]
    hidden = int(more.split()[2])
    assert len(shown) - 2 + hidden == len(ENGLISH.warnings.flags) + len(WORST)


@pytest.mark.slow
def test_the_same_input_gives_the_same_bytes_and_another_gives_others() -> None:
    first, second = draw_page(page_input()), draw_page(page_input())
    assert np.array_equal(first.rgb, second.rgb)
    assert first.pdf == second.pdf
    other = draw_page(page_input(patient_id="PH-78"))
    assert not np.array_equal(first.rgb, other.rgb)
    assert first.pdf != other.pdf
    height, width, _ = first.rgb.shape
    assert (width, height) == (1653, 2338)
    assert first.pdf.count(b"/Type /Page\n") + first.pdf.count(b"/Type /Page ") == 1
    assert b"/MediaBox [ 0 0 595." in first.pdf
    assert b"/FontFile2" in first.pdf


@pytest.mark.slow
def test_pixels_and_document_are_drawn_in_any_order_and_thread() -> None:
    """matplotlib's settings belong to the process: a thread must not take them from another."""
    expected, inputs = draw_page(page_input()), page_input()

    def drawn(is_pdf_first: bool) -> tuple[bytes, bytes]:
        sheet = compose(inputs)
        pdf = sheet.pdf(inputs.texts.title) if is_pdf_first else None
        rgb = sheet.pixels().tobytes()
        return rgb, pdf or sheet.pdf(inputs.texts.title)

    with ThreadPoolExecutor(3) as pool:
        pages = list(pool.map(drawn, (True, False, True)))
    assert {hash(rgb) for rgb, _ in pages} == {hash(expected.rgb.tobytes())}
    assert {hash(pdf) for _, pdf in pages} == {hash(expected.pdf)}


@pytest.mark.slow
def test_it_does_not_matter_when_parts_of_the_page_are_worked_out() -> None:
    asked: list[int] = []

    def at_once(work: Callable[[], T], /) -> Callable[[], T]:
        answer = work()
        asked.append(0)
        return lambda: answer

    page, expected = draw_page(page_input(), at_once), draw_page(page_input())
    assert len(asked) == 2
    assert page.pdf == expected.pdf
    assert np.array_equal(page.rgb, expected.rgb)


@pytest.mark.slow
def test_a_name_without_glyphs_is_never_boxes() -> None:
    def heads(*names: str) -> list[str]:
        sheet = composed(page_input(names=names))
        return [t.get_text() for t in sheet.figure.texts]

    assert "Yamada Tarou" in heads("山田 太郎", "Yamada Tarou")
    assert ENGLISH.anonymous in heads("山田 太郎")
    assert ENGLISH.anonymous in heads("")
