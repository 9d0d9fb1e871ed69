"""`lumbar-train to-nnunet`: prepared cases as a dataset of nnU-Net."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from training.cli.options import CasesOption, SeedOption, out_folder
from training.cli.output import ProgressBar, show_links

if TYPE_CHECKING:
    from dicomseg.structures import StructureId


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("to-nnunet")(to_nnunet)


def to_nnunet(  # noqa: PLR0913, PLR0917 - one argument per option of the command line
    cases: CasesOption,
    out: Annotated[Path, out_folder("nnU-Net's folder of raw datasets (nnUNet_raw).")],
    dataset: Annotated[int, typer.Option(help="Number of the dataset, 1 to 999.")] = 501,
    name: Annotated[str, typer.Option(help="Its name: letters and digits.")] = "Lumbar",
    structure: Annotated[
        list[str] | None,
        typer.Option(help="Structure to export; repeat. Default: what every case labels."),
    ] = None,
    folds: Annotated[
        Path | None, typer.Option(help="folds.json of `crossval`; default: new folds.")
    ] = None,
    count: Annotated[int, typer.Option(min=2, help="Number of new folds.")] = 5,
    seed: SeedOption = 1,
    file_ending: Annotated[str, typer.Option(help=".nii.gz, .nii, .mha or .nrrd.")] = ".nii.gz",
) -> None:
    """Write prepared cases as a raw dataset of nnU-Net v2.

    Voxels of which nothing is known become nnU-Net's label "ignore". Folds are by patient: what
    `crossval` tests is validated there, all other cases are trained on. nnU-Net reads splits_final.json
    from nnUNet_preprocessed/DATASET: copy it there before the training.

    \b
    Examples:
      lumbar-train to-nnunet --cases spider --out nnUNet_raw \\
        --folds cv/folds.json
      lumbar-train to-nnunet --cases cases --out nnUNet_raw --dataset 502 \\
        --name Vessels --structure ivd --structure aa --structure ivc

    \b
    Exit status: 0 done, 2 options, folds or a dataset that is there already,
    4 no case, or one that cannot be read (the others are written).

    \b
    Files: OUT/DatasetNNN_NAME/dataset.json, imagesTr, labelsTr,
    splits_final.json, patients.csv (file,patient, for `import --nnunet`)
    """
    from dicomseg.structures import BY_ID
    from training.data import folds as folding
    from training.data import nnunet
    from training.data.cases import list_cases
    from training.data.persons import read_persons
    from training.errors import CaseUnreadable, SourceMissing, UsageError

    unknown = [s for s in structure or [] if s not in BY_ID]
    if unknown:
        raise UsageError(f"--structure {unknown[0]}: unknown; known: {', '.join(BY_ID)}")
    folder = nnunet.dataset_folder(out, dataset, name)
    paths = list_cases(cases)
    if not paths:
        raise SourceMissing(f"{cases}: no case; prepare or import some")
    chosen = cast("tuple[StructureId, ...]", tuple(s for s in BY_ID if s in (structure or ())))
    chosen = chosen or nnunet.common_structures(paths)
    taken = nnunet.labelling(paths, chosen)
    if len(taken) < len(paths):
        typer.echo(
            f"{len(paths) - len(taken)} cases do not label {', '.join(chosen)} and are left out",
            err=True,
        )
    persons = read_persons(paths)
    patients = {path.stem: person for path, person in persons.by_path.items()}
    show_links(persons)
    drawn = folding.draw_folds(taken, count, seed) if folds is None else folding.read_folds(folds)
    folding.check_folds(drawn, patients)
    with ProgressBar(len(taken), "export") as bar:
        done = nnunet.export_cases(taken, chosen, folder, file_ending, bar.advance)
    nnunet.write_json(nnunet.nnunet_splits(drawn, patients, done.cases), folder / nnunet.SPLITS)
    typer.echo(f"{folder}: {len(done.cases)} cases, {', '.join(chosen)}, {len(drawn)} folds")
    if done.refused:
        raise CaseUnreadable(f"{len(done.refused)} cases were not written: {done.refused[0]}")
