"""One HTML file of an evaluation, readable without a network: pictures are embedded, nothing is fetched."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from importlib import resources
from typing import Any

from training.report.tables import Table


@dataclass(frozen=True, slots=True)
class Picture:
    """A PNG with its file name and what it shows."""

    file: str
    png: bytes
    caption: str


@dataclass(frozen=True, slots=True)
class PageSection:
    """A heading, a text, tables and pictures under it."""

    title: str
    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()
    text: str = ""


def page(title: str, facts: Mapping[str, Any], notes: Sequence[str], sections: Sequence[PageSection]) -> str:  # fmt: skip
    """Return the HTML file as text; every value is escaped."""
    style = resources.files("training.report").joinpath("page.css").read_text(encoding="utf-8")
    bundle = "".join(f"<tr><td>{escape(k)}</td><td>{escape(str(v))}</td></tr>" for k, v in facts.items())  # fmt: skip
    listed = "".join(f"<li>{escape(note)}</li>" for note in notes)
    body = "".join(_section(s) for s in sections)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{escape(title)}</title>'
        f'<meta name="viewport" content="width=device-width"><style>\n{style}</style></head><body>'
        f'<h1>{escape(title)}</h1><table class="facts">{bundle}</table>{body}'
        f"<h2>How it was counted</h2><ul>{listed}</ul></body></html>\n"
    )


def _section(section: PageSection) -> str:
    text = f"<p>{escape(section.text)}</p>" if section.text else ""
    tables = "".join(_table(t) for t in section.tables)
    pictures = "".join(_picture(p) for p in section.pictures)
    return f"<h2>{escape(section.title)}</h2>{text}{tables}{pictures}"


def _table(table: Table) -> str:
    head = "".join(f'<th scope="col">{escape(c)}</th>' for c in table.head)
    tags = ("<tr>", '<tr class="beside">')
    rows = "".join(
        tags[n in table.beside] + "".join(f"<td>{escape(c)}</td>" for c in row) + "</tr>"
        for n, row in enumerate(table.rows)
    )
    note = f'<p class="note">{escape(table.note)}</p>' if table.note else ""
    return f'<h3>{escape(table.title)}</h3><div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{rows}</tbody></table></div>{note}'


def _picture(picture: Picture) -> str:
    data = base64.b64encode(picture.png).decode("ascii")
    caption = escape(picture.caption)
    return f'<figure><img alt="{caption}" src="data:image/png;base64,{data}"><figcaption>{caption}</figcaption></figure>'
