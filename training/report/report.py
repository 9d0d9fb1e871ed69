"""The report of an evaluation: pictures, one HTML file that needs no network, JSON and CSV."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping, Sequence
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
from training.report import pictures, plots, tables
from training.report.case_csv import cases_csv
from training.report.page import PageSection, Picture, page

HTML: Final = "report.html"
DPI: Final = 110
WORST: Final = 3
"""Cases per group that are shown as pictures."""


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What a results file holds."""

    content: Mapping[str, Any]
    cases: tuple[CaseResult, ...]
    labels: Path
    """Folder of the predicted labels, beside the file."""


def read_evaluation(file: Path) -> Evaluation:
    """Read what `evaluate --out` or `crossval` wrote.

    Raises:
        ResultsUnreadable: no such file, another form, or no case in it.
    """
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        if content["schema"] != SCHEMA:
            raise ResultsUnreadable(f"{file}: schema {content['schema']!r}; evaluate again")
        cases = tuple(CaseResult.from_dict(c) for c in content["cases"])
    except (OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise ResultsUnreadable(f"{file}: {error}; give what `evaluate --out` wrote") from error
    if not cases:
        raise ResultsUnreadable(f"{file}: holds no case; evaluate some first")
    return Evaluation(content, cases, file.with_suffix(".cases"))


def make(file: Path, cases: Path, out: Path, *, worst: int = WORST) -> Path:
    """Write PNGs, `report.html`, `tables.md`, `figures.json` and `figures.csv` to `out`; returns the HTML file.

    cases: folder of the prepared cases, for the pictures of the worst ones.

    Raises:
        ResultsUnreadable: the results cannot be read.
        SourceMissing, CaseUnreadable: the folder of cases, or a case to be shown, cannot be read.
    """
    evaluation = read_evaluation(file)
    paths = {p.stem: p for p in list_cases(cases)}
    out.mkdir(parents=True, exist_ok=True)
    all_groups = groups(evaluation.cases)
    sections = [PageSection("Overview", (tables.level_table(all_groups),))]
    for name in sorted({group_name(c) for c in evaluation.cases}):
        inside = [c for c in evaluation.cases if group_name(c) == name]
        sections.append(_group_section(name, inside))
        sections.append(_worst_section(name, inside, paths, evaluation.labels, worst))
    subgroups = [g for g in all_groups if g.name.endswith(" contrast")]
    if subgroups:
        by_contrast = tuple(t for g in subgroups for t in tables.tables([g])[1:])
        sections.append(PageSection("By contrast", by_contrast))
    sections.append(PageSection("Single cases", (tables.case_table(evaluation.cases),)))
    _write(out, evaluation, sections)
    return out / HTML


def _write(out: Path, evaluation: Evaluation, sections: Sequence[PageSection]) -> None:
    for section in sections:
        for picture in section.pictures:
            (out / picture.file).write_bytes(picture.png)
    notes = [
        *evaluation.content.get("notes", ()),
        *evaluation.content["rules"],
        f"Paper: {SOURCE}.",
    ]
    title = "Evaluation of the L4/5 segmentation"
    text = page(title, dict(evaluation.content["bundle"]), notes, sections)
    (out / HTML).write_text(text, encoding="utf-8")
    write_json(out / "figures.json", evaluation.content)
    csv = cases_csv(evaluation.cases)
    (out / "figures.csv").write_text(csv, encoding="utf-8", newline="")
    text = "\n".join(tables.markdown(t) for section in sections for t in section.tables)
    (out / "tables.md").write_text(text, encoding="utf-8")


def png(figure: Figure) -> bytes:
    """Render a figure."""
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=DPI, facecolor=figure.get_facecolor())
    return out.getvalue()


def _slug(text: str) -> str:
    return "-".join("".join(c if c.isalnum() else " " for c in text).split())


def _group_section(name: str, cases: Sequence[CaseResult]) -> PageSection:
    """Return the tables and plots of one group."""
    drawings = [("dice", plots.dice_boxes, "Dice per structure; a dot is a case.")]
    if any(plots.paired_values(cases, m)[0] for m in plots.NAMES):
        drawings += [
            ("bland-altman", plots.bland_altman, "Bland–Altman: bias, limits of agreement and their 95 % confidence intervals."),
            ("scatter", plots.scatter, "Automatic against reference; the line is identity."),
            ("values", plots.value_boxes, "Values as box plots: median, quartiles, whiskers to 1.5 interquartile ranges."),
        ]  # fmt: skip
    images = tuple(
        Picture(f"{_slug(name)}-{kind}.png", png(draw(cases)), f"{caption} Cases: {name}.")
        for kind, draw, caption in drawings
    )
    rows = tuple(tables.tables([group(name, cases)])[1:])
    return PageSection(f"Cases: {name}", rows, images)


def _worst_section(
    name: str, cases: Sequence[CaseResult], paths: Mapping[str, Path], labels: Path, worst: int
) -> PageSection:
    """Return the cases with the lowest mean Dice as slices and surfaces; at the end the best for comparison."""
    order = sorted(cases, key=lambda c: c.mean_dice or 0.0)
    chosen = order[:worst]
    if worst and len(order) > worst:
        chosen.append(order[-1])
    images: list[Picture] = []
    missing: list[str] = []
    for case in chosen:
        predicted = read_labels(labels, case.case_id)
        if case.case_id not in paths or (predicted is None and case.level_error_mm is not None):
            missing.append(case.case_id)
            continue
        images += _pictures(case, paths[case.case_id], predicted)
    text = "The lowest mean Dice first, the highest last."
    if missing:
        text += f" No pictures of {', '.join(missing)}: case or labels are missing."
    return PageSection(f"Worst cases: {name}", (), tuple(images), text)


def _pictures(result: CaseResult, path: Path, predicted: Any) -> list[Picture]:
    case = load_case(path)
    mean = tables.number(result.mean_dice, 3)
    caption = f"{result.case_id}: mean Dice {mean}" + (f", {result.why}" if result.why else "")
    if predicted is not None and predicted.shape != case.labels.shape:
        predicted = None
        caption += ", labels of another grid are left out"
    if len(case.labelled) < len(STRUCTURES):
        caption += f"; the reference labels {', '.join(case.labelled)} only"
    return [
        Picture(f"{result.case_id}-outlines.png", png(pictures.outlines(case, predicted)), caption),
        Picture(
            f"{result.case_id}-surfaces.png",
            png(pictures.surfaces(case, predicted)),
            f"{caption}; surfaces of reference (left) and prediction (right)",
        ),
    ]
