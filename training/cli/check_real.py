"""`lumbar-train check-real`: predictions on real volumes beside two readings of the mid-disc plane."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from training.cli.options import BundleOption, ThreadsOption, out_folder
from training.cli.output import ProgressBar, print_table

if TYPE_CHECKING:
    from training.evaluate.check_real import Beside, Checked


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("check-real")(check_real)


def check_real(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Volumes, labels and readings.")],
    out: Annotated[Path, out_folder("Folder of results, pictures and cached predictions.")],
    bundle: BundleOption = None,
    sheet: Annotated[bool, typer.Option(help="Also the contact sheet.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
    threads: ThreadsOption = 0,
) -> None:
    """Measure real volumes by the inference pipeline and compare with outlines of readers.

    Values and refusals, differences to each reading beside those between the readings, Dice in the
    mid-disc plane and of the vertebral bodies. Do not publish planes.png where the data may not be
    published.

    \b
    Examples:
      lumbar-train check-real ../shared/data/real_t2 --out check
      lumbar-train check-real ../shared/data/real_t2 --out check --bundle candidate --json

    \b
    Exit status: 0 done, 4 volumes or readings missing or damaged, 6 the bundle does not load.

    \b
    Files:
      DIR/NN.image.nii.gz, DIR/NN.labels.nii.gz (1 = L5, 2 = L4), DIR/readings.json: {"cases": {NN:
        {"plane": {point_lps, normal_lps, a_lps, b_lps}, "readings": [{"reader", "structures":
        [{"kind": artery, vein, psoas_left or psoas_right, "points": [[a, b], …]}]}]}}}
      OUT/check.json, OUT/planes.png, OUT/answers/ (predictions by the model's digest)
    """
    import json

    from model.bundle.load import default_path, load
    from training.evaluate import check_real as checking
    from training.evaluate import readings, summary
    from training.evaluate.cached_model import remembering
    from training.evaluate.case_results import write_json

    model = load(bundle or default_path(), threads=threads)
    out.mkdir(parents=True, exist_ok=True)
    with ProgressBar(len(readings.read(folder)), "check-real") as bar:
        found = checking.checked(folder, remembering(model, out / "answers"), bar.advance)
    payload = checking.to_json(found, summary.about(model))
    write_json(out / "check.json", payload)
    if sheet:
        from training.report import contact_sheet as check_real_sheet

        check_real_sheet.write(found, out / "planes.png")
    if as_json:
        typer.echo(json.dumps(payload, indent=1))
    else:
        _show(found)


def _show(found: Sequence[Checked]) -> None:
    from rich.table import Table

    from dicomseg.measurement_names import MAIN_MEASUREMENTS
    from training.evaluate.check_real import FAR_MM, summary

    values = Table(
        title="Value in mm (less each reading)",
        caption="* carries a flag or a range",
        title_justify="left",
    )
    for head in ("", *MAIN_MEASUREMENTS):
        values.add_column(head, justify="right" if head else "left", overflow="fold")
    for one in found:
        values.add_row(one.read.name, *(_cell(one.values[name]) for name in MAIN_MEASUREMENTS))
    print_table(values)
    rows = [summary(found, name) for name in MAIN_MEASUREMENTS]
    table = Table(
        title="Beside the mean of the readings, mm",
        caption=f"far: off by more than {FAR_MM:g} mm; unmarked: of these, without flag or range",
        title_justify="left",
    )
    for head in (
        "",
        "given",
        "marked",
        "median",
        "largest",
        "between the readings",
        "far",
        "unmarked",
    ):
        table.add_column(head, justify="right" if head else "left", overflow="fold")
    for r in rows:
        table.add_row(
            r.name,
            f"{r.given} of {r.volumes}",
            str(r.marked),
            *(_mm(v) for v in (r.median_mm, r.largest_mm, r.between_mm)),
            " ".join(r.far) or "-",
            " ".join(r.unmarked) or "-",
        )
    print_table(table)
    print_table(_dice_table(found))


def _cell(value: Beside) -> str:
    if value.value_mm is None:
        return f"{value.refusal} ({', '.join(f'{r:.1f}' for r in value.readings_mm)})"
    apart = ", ".join(f"{d:+.1f}" for d in value.differences_mm)
    return f"{value.value_mm:.1f} ({apart}){'*' if value.is_marked else ''}"


def _mm(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _dice_table(found: Sequence[Checked]) -> Any:
    from rich.table import Table

    from training.evaluate.check_real import BODIES, STRIP_MM
    from training.evaluate.readings import KINDS

    table = Table(
        title="Dice: in the plane to each reading, of the bodies without their rim",
        caption=f"rim: {STRIP_MM:g} mm on both sides of the reference's surface",
        title_justify="left",
    )
    for head in ("", *KINDS, *BODIES, "level"):
        table.add_column(head, justify="right" if head else "left", overflow="fold")
    for one in found:
        kinds = (" ".join(f"{d:.2f}" for d in one.plane_dice.get(kind, ())) for kind in KINDS)
        bodies = (_mm(one.bodies_dice.get(name)) for name in BODIES)
        sure = one.why if one.found is None else f"{one.found.level.confidence:.2f}"
        table.add_row(one.read.name, *kinds, *bodies, sure)
    return table
