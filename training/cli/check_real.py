"""`lumbar-train check-real`: predictions on real volumes beside two readings of the mid-disc plane."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from training.cli.options import BundleOption, ThreadsOption, out_folder
from training.cli.output import ProgressBar, new_table, print_table

if TYPE_CHECKING:
    from rich.table import Table

    from training.evaluate.reading_comparison import ReadValue, VolumeComparison


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
    """Measure real volumes and compare with outlines of readers.

    Values and refusals, differences to each reading beside those between the readings, Dice in the
    mid-disc plane and of the vertebral bodies. Do not publish planes.png where the data may not be
    published.

    \b
    Examples:
      lumbar-train check-real ../shared/data/real_t2 --out check
      lumbar-train check-real volumes --out check --bundle candidate --json

    \b
    Exit status: 0 done, 4 volumes or readings missing or damaged, 6 the bundle
    does not load.

    \b
    Files:
      DIR/NN.image.nii.gz
      DIR/NN.labels.nii.gz   1 = L5, 2 = L4
      DIR/readings.json      {"cases": {NN: {"plane": {point_lps, normal_lps,
                             a_lps, b_lps}, "readings": [{"reader",
                             "structures": [{"kind": artery, vein, psoas_left
                             or psoas_right, "points": [[a, b], …]}]}]}}}
      OUT/check.json, OUT/planes.png
      OUT/answers/           predictions, by the model's digest
    """
    import json

    from model.bundle.card import default_path
    from model.bundle.load import load_bundle
    from training.evaluate import readings
    from training.evaluate.cached_model import cached
    from training.evaluate.case_results import write_json
    from training.evaluate.reading_comparison import compare_all, to_json
    from training.evaluate.results_file import about

    model = load_bundle(bundle or default_path(), threads=threads)
    out.mkdir(parents=True, exist_ok=True)
    with ProgressBar(len(readings.read_readings(folder)), "check-real") as bar:
        comparisons = compare_all(folder, cached(model, out / "answers"), bar.advance)
    payload = to_json(comparisons, about(model.info))
    write_json(out / "check.json", payload)
    if sheet:
        from training.report import contact_sheet

        contact_sheet.write(comparisons, out / "planes.png")
    if as_json:
        typer.echo(json.dumps(payload, indent=1))
    else:
        _show(comparisons)


def _show(comparisons: Sequence[VolumeComparison]) -> None:
    print_table(_value_table(comparisons))
    print_table(_summary_table(comparisons))
    print_table(_dice_table(comparisons))


def _value_table(comparisons: Sequence[VolumeComparison]) -> Table:
    from dicomseg.measurement_names import MAIN_MEASUREMENTS

    head = ("", *MAIN_MEASUREMENTS)
    table = new_table(head, "Value in mm (minus each reading)", "* carries a flag or a range")
    for volume in comparisons:
        cells = (_cell(volume.values[name]) for name in MAIN_MEASUREMENTS)
        table.add_row(volume.readings.name, *cells)
    return table


def _summary_table(comparisons: Sequence[VolumeComparison]) -> Table:
    from dicomseg.measurement_names import MAIN_MEASUREMENTS
    from training.evaluate.reading_comparison import FAR_MM, summarise

    table = new_table(
        ("", "values", "marked", "median", "largest", "between readings", "far", "unmarked"),
        "Compared with the mean of the readings, mm",
        f"far: off by more than {FAR_MM:g} mm; unmarked: of these, without flag or range",
    )
    for r in (summarise(comparisons, name) for name in MAIN_MEASUREMENTS):
        table.add_row(
            r.name,
            f"{r.given} of {r.volumes}",
            str(r.marked),
            *(_mm(v) for v in (r.median_mm, r.largest_mm, r.between_mm)),
            " ".join(r.far) or "-",
            " ".join(r.unmarked) or "-",
        )
    return table


def _cell(value: ReadValue) -> str:
    if value.value_mm is None:
        return f"{value.refusal} ({', '.join(f'{r:.1f}' for r in value.readings_mm)})"
    differences = ", ".join(f"{d:+.1f}" for d in value.differences_mm)
    return f"{value.value_mm:.1f} ({differences}){'*' if value.is_marked else ''}"


def _mm(value: float | None) -> str:
    return "-" if value is None else f"{value:.2f}"


def _dice_table(comparisons: Sequence[VolumeComparison]) -> Table:
    from training.evaluate.reading_comparison import BODIES, STRIP_MM
    from training.evaluate.readings import KINDS

    table = new_table(
        ("", *KINDS, *BODIES, "level"),
        "Dice: in the plane to each reading, of the bodies without their rim",
        f"rim: {STRIP_MM:g} mm on both sides of the reference's surface",
    )
    for volume in comparisons:
        kinds = (" ".join(f"{d:.2f}" for d in volume.plane_dice.get(kind, ())) for kind in KINDS)
        bodies = (_mm(volume.bodies_dice.get(name)) for name in BODIES)
        segmentation = volume.segmentation
        level = volume.why if segmentation is None else f"{segmentation.level.confidence:.2f}"
        table.add_row(volume.readings.name, *kinds, *bodies, level)
    return table
