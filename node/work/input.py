"""The grid of a claimed series: its headers are read again, and judged as in the selection."""

from __future__ import annotations

from collections.abc import Sequence

from dicomseg.errors import SeriesRefused
from dicomseg.read import header as headers
from dicomseg.read.geometry_problem import GeometryProblem
from dicomseg.read.reconstructions import judge_series
from dicomseg.read.rules import Rule
from dicomseg.read.series import Grid, why_too_small
from node.errors import ClaimLost
from node.events import Log
from node.journal.journal import Journal
from node.journal.rows import SeriesKey
from node.step import read_headers


def grid_of(journal: Journal, key: SeriesKey, rules: Sequence[Rule], log: Log) -> Grid:
    """Return the grid of a series.

    Raises:
        ClaimLost: an object of it cannot be read any more, so that it is another series now.
        SeriesRefused: it is not one regular grid, or too small.
    """
    instances, set_aside = read_headers(journal, key, headers.read_instance, log)
    if set_aside:
        raise ClaimLost(f"series {key.series}: {set_aside} objects cannot be read")
    grid = judge_series(key.series, instances, rules).grid
    if isinstance(grid, GeometryProblem):
        raise SeriesRefused(grid.text)
    small = why_too_small(grid)
    if small is not None:
        raise SeriesRefused(small)
    return grid
