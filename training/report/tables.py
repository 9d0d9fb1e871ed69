"""Tables of an evaluation as plain text cells, for the terminal, HTML and Markdown.

Under each of our rows follows that of the paper, where it has one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from dicomseg.structures import BY_ID
from training.evaluate.agreement import Spread
from training.evaluate.case_results import CaseResult
from training.evaluate.paper_values import ORDER, SHARE_ABOVE, TABLE2, TABLE3, TABLE3_N
from training.evaluate.summary import (
    ALL,
    Distribution,
    Group,
    MeasurementRow,
    StructureRow,
    group_name,
)

NONE: Final = "–"
PAPER: Final = "paper"


@dataclass(frozen=True, slots=True)
class Table:
    """A title, a header and rows of cells; `beside` numbers the rows that are the paper's."""

    title: str
    head: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    beside: frozenset[int] = frozenset()
    note: str = ""


def number(value: float | None, decimals: int) -> str:
    """Return one number as text, a dash for none."""
    return NONE if value is None else f"{value:.{decimals}f}"


def _share(value: float) -> str:
    return f"{100 * value:.0f} %"


def _spread(values: Spread | Distribution | None, decimals: int) -> str:
    """Return mean ± SD (minimum–maximum)."""
    if values is None:
        return NONE
    mean, low, high = (f"{v:.{decimals}f}" for v in (values.mean, values.least, values.most))
    return f"{mean} ± {number(values.sd, decimals)} ({low}–{high})"


SHORT: Final[Mapping[str, str]] = {
    "l4": "L4",
    "ivd": "disc",
    "l5": "L5",
    "dura": "dural sac",
    "n4": "L4 roots",
    "aa": "arteries",
    "pm": "psoas",
    "ivc": "veins",
    "disc without end plates": "disc, end plates ignored",
    "canal near the disc": "canal, 35 mm about the disc",
    ALL: "mean of the case",
}
"""Names that fit a column."""


def dice_table(group: Group) -> Table:
    """Return Dice, precision, recall and shares per structure; the paper's Table 2, test row, under each."""
    rows: list[tuple[str, ...]] = []
    beside: set[int] = set()
    for row in group.structures:
        rows.append(_dice_row(row))
        paper = _paper_row(row.structure, _count(group))
        if paper is not None:
            beside.add(len(rows))
            rows.append(paper)
    scores = ("n", "Dice", "median", "SD", "least", "precision", "recall")
    head = ("", *scores, "> 0.85", "> 0.90", "mean shape", "thresh.")
    missed = sum(r.missed for r in group.structures if r.structure in BY_ID)
    false_positive = sum(r.invented for r in group.structures if r.structure in BY_ID)
    note = f"Means; paper: Table 2, test. Missed structures: {missed}, false positive: {false_positive}, each Dice 0. Mean shape, thresh.: Dice of the baselines."
    return Table(f"Dice, {group.name}", head, tuple(rows), frozenset(beside), note)


def _count(group: Group) -> int:
    """Return the number of structures that the mean is over."""
    return sum(row.structure in BY_ID for row in group.structures)


def _dice_row(row: StructureRow) -> tuple[str, ...]:
    d = row.dice
    return (
        SHORT[row.structure],
        str(d.n),
        *(number(v, 3) for v in (d.mean, d.median, d.sd, d.least, row.precision, row.recall)),
        *(_share(v) for v in row.above.values()),
        *(number(row.baselines.get(name), 3) for name in ("mean_shape", "threshold")),
    )


def _paper_row(structure: str, structures: int) -> tuple[str, ...] | None:
    """Return the paper's row; its mean only beside a mean over all eight structures."""
    if structure == ALL:
        if structures != len(ORDER):
            return None
        values = [TABLE2[k]["test"].mean for k in ("dice", "precision", "recall")]
        shares = [_share(v) for v in SHARE_ABOVE.values()]
    elif structure not in BY_ID:
        return None
    else:
        values = [
            TABLE2[k]["test"].by_structure[structure]  # type: ignore[index]
            for k in ("dice", "precision", "recall")
        ]
        shares = [NONE, NONE]
    dice, precision, recall = (f"{v:.3f}" for v in values)
    return (PAPER, "50", dice, NONE, NONE, NONE, precision, recall, *shares, NONE, NONE)


def surface_table(group: Group) -> Table:
    """Return HD95 and average symmetric surface distance per structure."""
    rows = tuple(
        (
            SHORT[r.structure],
            *_surface(r.hd95_mm),
            *_surface(r.assd_mm),
            str(r.missed),
            str(r.invented),
        )
        for r in group.structures
        if r.structure != ALL
    )
    head = ("", "HD95, mm", "median", "ASSD, mm", "median", "missed", "false positive")
    note = "Over the cases with the structure in reference and prediction; the others have no distance."
    return Table(f"Surface distances, {group.name}", head, rows, note=note)


def _surface(distances: Distribution | None) -> tuple[str, str]:
    return _spread(distances, 2), number(None if distances is None else distances.median, 2)


def measurement_tables(group: Group) -> tuple[Table, Table]:
    """Return OC, DAA, DIVC and PI: values and errors, and agreement; the paper's Table 3 under each row."""
    values: list[tuple[str, ...]] = []
    agreements: list[tuple[str, ...]] = []
    for row in group.measurements:
        ours, theirs = _measured(row), _paper3(row)
        values += [
            (row.name, *ours[:4], str(sum(row.refused.values()))),
            (PAPER, *theirs[:4], NONE),
        ]
        agreements += [(row.name, ours[0], *ours[4:]), (PAPER, theirs[0], *theirs[4:])]
    beside = frozenset(range(1, len(values), 2))
    sources = sorted({s for r in group.measurements for s in r.reference_from})
    origin = ", ".join(_FROM.get(s, s) for s in sources) or "none"
    note = f"Mean ± SD (range). Reference: {origin}. {_refusals(group.measurements)}"
    head: tuple[str, ...] = ("automatic, mm", "reference, mm", "absolute error, mm", "refused")
    measurements = Table(
        f"Measurements, {group.name}", ("", "n", *head), tuple(values), beside, note
    )
    head = ("", "n", "bias", "limits of agreement", "SD", "R", "Wilcoxon p", "ICC(2,1)", "coverage")
    note = (
        "Automatic − reference, mm. SD, limits and ICC of the paper follow from its Table 3. Coverage: references within"
        " twice the stated uncertainty, or inside the range that replaces it at a bifurcation."
    )
    return measurements, Table(f"Agreement, {group.name}", head, tuple(agreements), beside, note)


_FROM: Final = {
    "truth": "the phantoms' true values",
    "labels": "measured on the reference labels",
}


def _refusals(rows: Sequence[MeasurementRow]) -> str:
    refused = [
        f"{r.name}: {', '.join(f'{n} {code}' for code, n in r.refused.items())}"
        for r in rows
        if r.refused
    ]
    none = [f"{r.name} {r.without_reference}" for r in rows if r.without_reference]
    out = f"Refused: {'; '.join(refused) or 'none'}."
    return out + (f" Without a reference value: {', '.join(none)}." if none else "")


def _limits(limits: tuple[float, float] | None) -> str:
    return NONE if limits is None else f"{limits[0]:.2f} to {limits[1]:.2f}"


def _measured(row: MeasurementRow) -> tuple[str, ...]:
    """Return n, automatic, reference, error; bias, limits, SD, R, p, ICC, coverage of the stated uncertainty."""
    a = row.agreement
    if a is None:
        return ("0", *[NONE] * 10)
    low = a.wilcoxon_p is not None and a.wilcoxon_p < 0.001
    return (
        str(a.n),
        *(_spread(s, 2) for s in (a.automatic, a.reference, a.error)),
        f"{a.bias:+.2f}",
        _limits(a.limits),
        number(a.sd_difference, 2),
        number(a.pearson_r, 3),
        "< 0.001" if low else number(a.wilcoxon_p, 3),
        number(a.icc, 3),
        f"{row.covered}" + (f" (with a range: {row.ranges})" if row.ranges else ""),
    )


def _paper3(row: MeasurementRow) -> tuple[str, ...]:
    p = TABLE3[row.name]
    spreads = (_spread(Spread(*v), 2) for v in (p.automatic, p.reference, p.error))
    bias = p.automatic[0] - p.reference[0]
    rest = (p.pearson_r, p.wilcoxon_p, p.icc)
    return (
        str(TABLE3_N),
        *spreads,
        f"{bias:+.2f}",
        _limits(p.limits),
        f"{p.sd_difference:.2f}",
        *(f"{v:.3f}" for v in rest),
        NONE,
    )


def level_table(groups: Sequence[Group]) -> Table:
    """Return how well the level was found, by group."""
    rows = tuple(
        (
            g.name,
            str(g.cases),
            str(g.level.found),
            str(g.level.near),
            _spread(g.level.error_mm, 1),
            number(None if g.level.error_mm is None else g.level.error_mm.median, 1),
        )
        for g in groups
    )
    head = ("cases", "n", "found", "within 8 mm", "error, mm: mean ± SD (range)", "median")
    return Table("Level", head, rows)


def case_table(cases: Sequence[CaseResult]) -> Table:
    """Return one line per case, the worst first."""
    worst = sorted(cases, key=lambda c: (c.mean_dice is not None, c.mean_dice or 0.0))
    rows = tuple(
        (
            c.case_id,
            group_name(c),
            NONE if c.fold is None else str(c.fold),
            number(c.mean_dice, 3),
            *_weakest(c),
            c.why or number(c.level_error_mm, 1),
            f"{c.level_confidence:.2f}",
            f"{c.seconds:.1f}",
        )
        for c in worst
    )
    head = ("case", "group", "fold", "mean Dice", "lowest", "of", "level error, mm", "confidence", "s")  # fmt: skip
    return Table("Cases, the worst first", head, rows)


def _weakest(case: CaseResult) -> tuple[str, str]:
    if not case.scores:
        return NONE, NONE
    name, score = min(case.scores.items(), key=lambda item: item[1].dice)
    return f"{score.dice:.3f}", name


def tables(groups: Sequence[Group]) -> list[Table]:
    """Return every table of an evaluation except that of single cases."""
    out = [level_table(groups)]
    for group in groups:
        out += [dice_table(group), surface_table(group)]
        if group.measurements:
            out += measurement_tables(group)
    return out


def markdown(table: Table) -> str:
    """Return a table as GitHub Markdown."""
    lines = [
        f"**{table.title}**",
        "",
        f"| {' | '.join(table.head)} |",
        "|---" * len(table.head) + "|",
    ]
    lines += [f"| {' | '.join(row)} |" for row in table.rows]
    return "\n".join([*lines, *(["", table.note] if table.note else [])]) + "\n"
