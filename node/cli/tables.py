"""Plain tables that fit a narrow screen: columns fold, none is cropped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from rich.table import Table

UID_COLUMN: Final = "series UID"
"""Header of a column of UIDs: up to 64 characters, which would leave no space for other columns at 80."""

_COLOUR: Final = {
    "eligible": "green",
    "written": "green",
    "already there": "green",
    "delivered": "green",
    "incomplete": "yellow",
    "quarantined": "yellow",
    "refused": "red",
    "failed": "red",
}


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], folding: int = 1) -> Table:
    """Return a plain table.

    folding: number of columns at the end that fold where the screen is narrow; a column of UIDs
    folds everywhere.
    """
    result = Table(box=None, pad_edge=False, header_style="bold")
    for n, header in enumerate(headers):
        folds = n >= len(headers) - folding or header == UID_COLUMN
        result.add_column(header, overflow="fold", no_wrap=not folds)
    for row in rows:
        result.add_row(*row)
    return result


def coloured(word: str) -> str:
    """Return a state or verdict in its colour, as markup of `rich`."""
    return f"[{_COLOUR[word]}]{word}[/]" if word in _COLOUR else word
