"""The other layouts of a result in OHIF: with the planning page, the report, the surfaces; on a small screen."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dicomseg.encode.context import EncodeInput
from dicomseg.encode.pictures import encode_pictures
from dicomseg.encode.result_folder import encode_all
from dicomseg.structures import BY_ID
from tests.support.browser import Archive, Look
from tests.support.screens import SHOWN, crosses, keep_picture, overlap, pixels_of

pytestmark = [pytest.mark.browser, pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(600)]

SURFACES = "Representation data of type Surface already exists"
"""OHIF says this once for each segment after the first."""


@pytest.fixture(scope="module")
def complete(
    archive: Archive, images: None, shown_run: tuple[EncodeInput, list[Path]]
) -> Iterator[EncodeInput]:
    """A result with its page, report and surfaces."""
    run = shown_run[0]
    with archive.holding(encode_all(run) | encode_pictures(run)):
        yield run


def _pane(page: Any, viewport: str) -> Any:
    box = page.evaluate(
        '(id) => { const r = document.querySelector(`[data-viewportid="${id}"]`).getBoundingClientRect();'
        " return [r.left, r.top, r.right, r.bottom]; }",
        viewport,
    )
    left, top, right, bottom = (round(v) for v in box)
    return pixels_of(page.screenshot())[top:bottom, left:right].astype(int)


def _check_lines(page: Any) -> None:
    """Four values are drawn and listed, their texts on no line and no other text."""
    found = page.evaluate(SHOWN)
    assert len(found["rows"]) == 4
    assert all(" mm" in value for _, value in found["rows"])
    for n, (text, box) in enumerate(found["texts"]):
        assert not any(overlap(box, other) for _, other in found["texts"][:n]), text
        assert not any(crosses(box, ends) for ends in found["ends"].values()), text


def _open(look: Look, archive: Archive, run: EncodeInput, layout: str) -> Any:
    study = run.result.source.study
    return look.page(f"{archive.viewer.link(study)}&hangingProtocolId={layout}")


def test_the_page_beside_lines_and_segments(
    complete: EncodeInput, archive: Archive, look: Look
) -> None:
    with _open(look, archive, complete, "lumbar-page") as page:
        page.wait_for_timeout(1500)
        pane = _pane(page, "lumbar-page")
        keep_picture("layout-page", page.screenshot())
        _check_lines(page)
    white = (pane > 235).all(axis=-1).mean()
    assert 0.3 < white < 0.9
    assert look.console == []


def test_the_report_beside_lines_and_segments(
    complete: EncodeInput, archive: Archive, look: Look
) -> None:
    with _open(look, archive, complete, "lumbar-report") as page:
        page.wait_for_timeout(2500)
        document = page.locator('object[type="application/pdf"]').get_attribute("data")
        keep_picture("layout-report", page.screenshot())
        _check_lines(page)
    assert document
    assert look.console == []


def test_the_surfaces_beside_lines_and_segments(
    complete: EncodeInput, archive: Archive, look: Look
) -> None:
    with _open(look, archive, complete, "lumbar-space") as page:
        page.wait_for_function(
            "() => { const v = services.cornerstoneViewportService.getCornerstoneViewport('lumbar-space');"
            " return v && v.getActors().length >= 10; }",
            timeout=120_000,
        )
        page.wait_for_timeout(3000)
        pane = _pane(page, "lumbar-space")
        keep_picture("layout-space", page.screenshot())
        _check_lines(page)
    for name in ("aa", "ivc", "pm"):
        colour = np.array(BY_ID[name].rgb) / np.linalg.norm(BY_ID[name].rgb)  # type: ignore[index]
        bright = np.linalg.norm(pane, axis=-1)
        like = (pane @ colour) / np.maximum(bright, 1)
        assert ((like > 0.985) & (bright > 60)).sum() > 300, name
    assert [line for line in look.console if SURFACES not in line] == []


def test_our_layouts_head_the_menu_and_can_be_chosen(
    complete: EncodeInput, archive: Archive, look: Look
) -> None:
    with look.page(archive.viewer.link(complete.result.source.study)) as page:
        page.locator('[data-cy="Layout"]').click()
        page.wait_for_timeout(500)
        listed = page.evaluate("() => document.body.innerText")
        keep_picture("layout-menu", page.screenshot())
        page.get_by_text("L4/5: page, lines and segments").click()
        page.wait_for_function("() => document.querySelector('[data-viewportid=\"lumbar-page\"]')")
        page.wait_for_timeout(3000)
        keep_picture("layout-chosen", page.screenshot())
        _check_lines(page)
    places = [
        listed.index(f"L4/5: {words}")
        for words in (
            "lines and segments", "page, lines and segments", "report, lines and segments",
            "lines, segments and surfaces",
        )
    ]  # fmt: skip
    assert places == sorted(places)
    assert look.console == []


def test_a_small_screen(complete: EncodeInput, archive: Archive, look: Look) -> None:
    small = replace(look, size=(1280, 720), console=[])
    with small.page(archive.viewer.link(complete.result.source.study)) as page:
        keep_picture("small", page.screenshot())
        _check_lines(page)
    assert small.console == []
