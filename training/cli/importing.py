"""`lumbar-train import`: external labelled images as prepared cases."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from training.cli.options import out_folder
from training.errors import ImportRefused, UsageError

if TYPE_CHECKING:
    from training.importing.importer import ImportOptions, ImportSummary
    from training.importing.label_table import LabelTable
    from training.importing.pairs import PendingPair

AUTHORIZATION: Final = "LUMBAR_DICOMWEB_AUTHORIZATION"
"""Environment variable with the value of the HTTP header Authorization; never on the command line."""

Sources = tuple[Path | None, str | None, tuple[Path, Path] | None]
"""--dicom, --dicomweb, --volumes; exactly one is set."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("import")(import_cases)


def import_cases(  # noqa: PLR0913, PLR0917 - one argument per option of the command line
    out: Annotated[Path, out_folder("Folder to write the cases to.")],
    licence: Annotated[str, typer.Option(help="Licence of these data; written on every card.")],
    dicom: Annotated[Path | None, typer.Option(help="Folder with MR and SEG.")] = None,
    dicomweb: Annotated[str | None, typer.Option(help="Address of a DICOMweb server.")] = None,
    study: Annotated[
        list[str] | None, typer.Option(help="Study Instance UID on that server; repeat.")
    ] = None,
    volumes: Annotated[
        tuple[Path, Path] | None,
        typer.Option("--volumes", "--nifti", help="Folders of images and of label maps."),
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Table (TOML) from label or segment to structure.")
    ] = None,
    patients: Annotated[
        Path | None, typer.Option(help="Table (file,patient) for --volumes; default: from names.")
    ] = None,
    secret: Annotated[
        Path | None, typer.Option(help="Secret of the project; default: OUT/pseudonym.key.")
    ] = None,
    keep_dicom: Annotated[
        bool, typer.Option("--keep-dicom", help="Also keep the DICOM objects, de-identified.")
    ] = False,
    mirrored_vessels: Annotated[
        bool,
        typer.Option("--mirrored-vessels", help="Take persons with arteries right of the veins."),
    ] = False,
) -> None:
    """Import external labelled images, under pseudonyms.

    DICOM: MR series with DICOM SEG; segments are identified by their code, or by --labels. Volumes:
    images and label maps of the same name on one grid (.nii, .nii.gz, .mha, .nrrd) or segmentations of
    3D Slicer (.seg.nrrd), by the names of their segments. The volumes of each case are printed. Existing cases are kept, so the same command continues an
    interrupted import. Keep OUT/pseudonym.key (mode 0600), and never publish it.

    \b
    Examples:
      lumbar-train import --out cases --dicom exported --licence "CC BY 4.0"
      lumbar-train import --out cases --licence internal \\
        --dicomweb http://localhost:8042/dicom-web --study 1.2.3
      lumbar-train import --out cases --licence internal \\
        --volumes images masks --labels table.toml

    \b
    Exit status: 0 all imported or already there, 2 options, table or secret,
    4 a pair was refused (the others are imported) or nothing was found,
    5 the DICOMweb server failed.

    \b
    Files: OUT/CASE.npz, OUT/CASE.json, OUT/manifest.json, OUT/pseudonym.key
    table.toml: [labels] with lines such as 1 = "l4", 7 = "pm.left",
    9 = "background"
    """
    from training.importing import importer, label_table
    from training.importing.deidentify import SECRET_NAME, read_or_create_secret

    source = _source(dicom, dicomweb, volumes)
    _check_options(source, licence, study, patients, keep_dicom=keep_dicom)
    if volumes is not None and labels is None and not _names_segments(volumes[1]):
        raise UsageError("--volumes needs --labels TABLE: numbers in a label map name no structure")
    if keep_dicom:
        _needs("dicomanonymizer", "--keep-dicom")
    table = None if labels is None else label_table.read_table(labels)
    key = read_or_create_secret(secret or out / SECRET_NAME)
    today = datetime.now(UTC).date().isoformat()
    options = importer.ImportOptions(
        out, source, licence.strip(), key, today, keep_dicom, mirrored_vessels
    )
    try:
        done = _run(options, (dicom, dicomweb, volumes), study or [], table, patients)
    except OSError as error:
        raise ImportRefused(
            f"{error.filename or out}: {error.strerror}; correct it and run the command again"
        ) from error
    typer.echo(f"{out}: {len(done.imported)} imported, {len(done.existing)} already there")
    if done.refused:
        count = len(done.refused)
        raise ImportRefused(f"{count} refused, see above; correct them and run the command again")


def _run(
    options: ImportOptions,
    sources: Sources,
    study: list[str],
    table: LabelTable | None,
    patients: Path | None,
) -> ImportSummary:
    from training.importing import importer

    with _pairs(options.out, sources, study, table, patients) as pairs:
        return importer.import_all(pairs, options, lambda line: typer.echo(line, err=True))


def _source(dicom: Path | None, dicomweb: str | None, volumes: tuple[Path, Path] | None) -> str:
    options = {"dicom": dicom, "dicomweb": dicomweb, "volumes": volumes}
    named = [name for name, value in options.items() if value is not None]
    if len(named) != 1:
        raise UsageError(
            "the source is not unique; give one of --dicom FOLDER, --dicomweb URL, --volumes IMAGES LABELS"
        )
    return named[0]


def _names_segments(labels: Path) -> bool:
    """Return whether a folder holds segmentations that name their segments."""
    from training.importing.slicer import END

    return labels.name.lower().endswith(END) or any(
        p.name.lower().endswith(END) for p in labels.rglob("*")
    )


def _needs(package: str, option: str) -> None:
    if find_spec(package) is None:
        raise UsageError(f"{option} needs {package}; install the train extra")


def _check_options(
    source: str,
    licence: str,
    study: list[str] | None,
    patients: Path | None,
    *,
    keep_dicom: bool,
) -> None:
    wrong = {
        "--licence is empty; name the licence or the agreement": not licence.strip(),
        "--dicomweb needs --study UID": source == "dicomweb" and not study,
        "--study belongs to --dicomweb": source != "dicomweb" and bool(study),
        "--patients belongs to --volumes; DICOM carries its own ids": source != "volumes"
        and patients is not None,
        "--keep-dicom belongs to --dicom and --dicomweb": source == "volumes" and keep_dicom,
    }
    for message, is_so in wrong.items():
        if is_so:
            raise UsageError(message)


@contextmanager
def _pairs(
    out: Path,
    sources: Sources,
    study: list[str],
    table: LabelTable | None,
    patients: Path | None,
) -> Iterator[Iterator[PendingPair]]:
    """Yield the pairs of the source that is set; fetched files are removed at the end."""
    dicom, dicomweb, volumes = sources
    warn: Callable[[str], None] = lambda line: typer.echo(line, err=True)  # noqa: E731
    if volumes is not None:
        _needs("nibabel", "--volumes")
        from training.importing import files as import_files

        patient_ids = None if patients is None else import_files.read_patients(patients)
        if patient_ids is None:
            warn(
                "patient ids are taken from the file names; --patients names who was scanned twice"
            )
        yield import_files.pending(*volumes, table or {}, patient_ids)
        return
    from training.importing import dicom as import_dicom

    if dicom is not None:
        yield import_dicom.pending(dicom, table)
        return
    from training.importing import dicomweb as import_dicomweb

    authorization = os.environ.get(AUTHORIZATION, "")
    with import_dicomweb.fetched_studies(str(dicomweb), study, out, authorization, warn) as folder:
        yield import_dicom.pending(folder, table)
