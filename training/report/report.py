"""The report of an evaluation: pictures, one HTML file that needs no network, JSON and CSV."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from matplotlib.figure import Figure

from dicomseg.structures import STRUCTURES
from training.data.cases import list_cases, load_case
from training.errors import ResultsUnreadable
from training.evaluate.case_results import CaseResult, read_labels, write_json
from training.evaluate.paper_values import SOURCE
from training.evaluate.results_file import SCHEMA
from training.evaluate.summary import group, group_name, groups
from training.report import pictures as report_pictures
from training.report import plots as report_plots
from training.report import tables as report_tables
from training.report.page import Picture, Section, page

HTML: Final = "report.html"
DPI: Final = 110
WORST: Final = 3
"""Cases per group that are shown as pictures."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a file of figures holds; labels: folder of the labels found, beside the file."""

    told: Mapping[str, Any]
    cases: tuple[CaseResult, ...]
    labels: Path


def read(file: Path) -> Evaluation:
    """Read what `evaluate --out` or `crossval` wrote.

    Raises:
        ResultsUnreadable: no such file, another form, or no case in it.
    """
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
        if told["schema"] != SCHEMA:
            raise ResultsUnreadable(f"{file}: schema {told['schema']!r}; evaluate again")
        cases = tuple(CaseResult.from_dict(c) for c in told["cases"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ResultsUnreadable(f"{file}: {error}; give what `evaluate --out` wrote") from error
    if not cases:
        raise ResultsUnreadable(f"{file}: holds no case; evaluate some first")
    return Evaluation(told, cases, file.with_suffix(".cases"))


def make(
    file: Path,
    cases: Path,
    out: Path,
    *,
    worst: int = WORST,
    said: Callable[[str], None] = lambda _: None,
) -> Path:
    """Write PNGs, `report.html`, `tables.md`, `figures.json` and `figures.csv` to `out`; returns the HTML file.

    cases: folder of the prepared cases, for the pictures of the worst ones.

    Raises:
        ResultsUnreadable: the figures cannot be read.
        SourceMissing, CaseUnreadable: the folder of cases, or a case to be shown, cannot be read.
    """
    evaluation = read(file)
    paths = {p.stem: p for p in list_cases(cases)}
    out.mkdir(parents=True, exist_ok=True)
    told = groups(evaluation.cases)
    sections = [Section("Overview", (report_tables.level_table(told),))]
    for name in sorted({group_name(c) for c in evaluation.cases}):
        inside = [c for c in evaluation.cases if group_name(c) == name]
        said(name)
        sections.append(_group_section(name, inside))
        sections.append(_worst_section(name, inside, paths, evaluation.labels, worst))
    subgroups = [g for g in told if g.name.endswith(" contrast")]
    if subgroups:
        tables = tuple(t for g in subgroups for t in report_tables.tables([g])[1:])
        sections.append(Section("By contrast", tables))
    sections.append(Section("Single cases", (report_tables.case_table(evaluation.cases),)))
    _write(out, evaluation, sections)
    return out / HTML


def _write(out: Path, evaluation: Evaluation, sections: Sequence[Section]) -> None:
    for section in sections:
        for picture in section.pictures:
            (out / picture.file).write_bytes(picture.png)
    notes = [*evaluation.told.get("notes", ()), *evaluation.told["rules"], f"Paper: {SOURCE}."]
    title = "Evaluation of the L4/5 segmentation"
    text = page(title, dict(evaluation.told["bundle"]), notes, sections)
    (out / HTML).write_text(text, encoding="utf-8")
    write_json(out / "figures.json", evaluation.told)
    csv = report_tables.cases_csv(evaluation.cases)
    (out / "figures.csv").write_text(csv, encoding="utf-8", newline="")
    text = "\n".join(report_tables.markdown(t) for section in sections for t in section.tables)
    (out / "tables.md").write_text(text, encoding="utf-8")


def png(figure: Figure) -> bytes:
    """Render a figure."""
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=DPI, facecolor=figure.get_facecolor())
    return out.getvalue()


def _slug(text: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in text).split())


def _group_section(name: str, cases: Sequence[CaseResult]) -> Section:
    """Tables and plots of one group."""
    plots = [("dice", report_plots.dice_boxes, "Dice per structure; a dot is a case.")]
    if any(report_plots.pairs_of(cases, m)[0] for m in report_plots.NAMES):
        plots += [
            ("bland-altman", report_plots.bland_altman, "Bland–Altman: bias, limits of agreement and their 95 % confidence intervals."),
            ("scatter", report_plots.scatter, "Automatic against reference; the line is identity."),
            ("values", report_plots.value_boxes, "Values as box plots: median, quartiles, whiskers to 1.5 interquartile ranges."),
        ]  # fmt: skip
    pictures = tuple(
        Picture(f"{_slug(name)}-{kind}.png", png(draw(cases)), f"{caption} Cases: {name}.")
        for kind, draw, caption in plots
    )
    tables = tuple(report_tables.tables([group(name, cases)])[1:])
    return Section(f"Cases: {name}", tables, pictures)


def _worst_section(
    name: str, cases: Sequence[CaseResult], paths: Mapping[str, Path], labels: Path, worst: int
) -> Section:
    """The cases with the lowest mean Dice, as slices and as surfaces; at last the best for comparison."""
    order = sorted(cases, key=lambda c: c.mean_dice or 0.0)
    chosen = order[:worst]
    if worst and len(order) > worst:
        chosen.append(order[-1])
    pictures: list[Picture] = []
    lost: list[str] = []
    for case in chosen:
        found = read_labels(labels, case.case_id)
        if case.case_id not in paths or (found is None and case.level_error_mm is not None):
            lost.append(case.case_id)
            continue
        pictures += _pictures(case, paths[case.case_id], found)
    text = "The lowest mean Dice first, the highest last."
    if lost:
        text += f" No pictures of {', '.join(lost)}: case or labels are not there."
    return Section(f"Worst cases: {name}", (), tuple(pictures), text)


def _pictures(told: CaseResult, path: Path, found: Any) -> list[Picture]:
    case = load_case(path)
    mean = report_tables.number(told.mean_dice, 3)
    what = f"{told.case_id}: mean Dice {mean}" + (f", {told.why}" if told.why else "")
    if found is not None and found.shape != case.labels.shape:
        found = None
        what += ", labels of another grid are left out"
    if len(case.labelled) < len(STRUCTURES):
        what += f"; the reference labels {', '.join(case.labelled)} only"
    return [
        Picture(f"{told.case_id}-outlines.png", png(report_pictures.outlines(case, found)), what),
        Picture(
            f"{told.case_id}-surfaces.png",
            png(report_pictures.surfaces(case, found)),
            f"{what}; surfaces of reference (left) and answer (right)",
        ),
    ]
