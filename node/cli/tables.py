"""Plain tables: on a terminal folded to its width, elsewhere one line per row; nothing is cropped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:  # imported where a terminal shows a table: it takes as long as a short command
    from rich.table import Table as RichTable

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
"""Colours of states and verdicts."""


@dataclass(frozen=True, slots=True)
class Table:
    """Headers and rows of text.

    folding: number of columns at the end that fold where the screen is narrow. coloured: header of
    the column of states or verdicts, which have colours on a terminal.
    """

    headers: Sequence[str]
    rows: Sequence[Sequence[str]]
    folding: int = 1
    coloured: str = ""

    def lines(self) -> Iterator[str]:
        """Yield one line per row, columns aligned."""
        rows = [self.headers, *self.rows]
        widths = [max(len(row[n]) for row in rows) for n in range(len(self.headers))]
        for row in rows:
            yield "  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip()

    def rich(self) -> RichTable:
        """Return the table for a terminal."""
        from rich.table import Table as RichTable
        from rich.text import Text

        table = RichTable(box=None, pad_edge=False, header_style="bold")
        for n, header in enumerate(self.headers):
            folds = n >= len(self.headers) - self.folding
            table.add_column(header, overflow="fold", no_wrap=not folds)
        for row in self.rows:
            cells = zip(self.headers, row, strict=True)
            table.add_row(
                *(Text(c, _COLOUR.get(c, "") if h == self.coloured else "") for h, c in cells)
            )
        return table
