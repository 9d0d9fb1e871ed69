"""The HTML page: every text is escaped, pictures are embedded, rows of the paper are marked."""

from __future__ import annotations

import base64

from training.report.page import PageSection, Picture, page
from training.report.tables import Table


def test_texts_are_escaped_and_pictures_embedded() -> None:
    table = Table("A < B", ("x", "y"), (("1", "<2>"), ("3", "4")), frozenset({1}), "note & more")
    picture = Picture("a.png", b"\x89PNG", "left > right")
    text = page(
        "T & T", {"name": "<b>"}, ["1 < 2"], [PageSection("S", (table,), (picture,), "a&b")]
    )
    for escaped in ("T &amp; T", "&lt;b&gt;", "1 &lt; 2", "A &lt; B", "&lt;2&gt;", "note &amp; more", "a&amp;b", "left &gt; right"):  # fmt: skip
        assert escaped in text
    assert f"data:image/png;base64,{base64.b64encode(picture.png).decode()}" in text
    assert '<tr class="beside"><td>3</td>' in text
    assert "<tr><td>1</td>" in text
    assert "color-scheme:light dark" in text  # the style is part of the page


def test_what_is_empty_leaves_no_element() -> None:
    text = page("T", {}, [], [PageSection("S", (Table("t", ("x",), ()),))])
    assert "<figure>" not in text
    assert '<p class="note">' not in text
    assert "<h2>S</h2><h3>t</h3>" in text
