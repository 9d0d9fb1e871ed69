"""`lumbar-train import`: external labelled images as prepared cases."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from training.cli.options import out_folder
from training.errors import FoldsError, ImportRefused, UsageError

if TYPE_CHECKING:
    from training.importing.label_table import LabelTable
    from training.importing.pairs import PendingPair

AUTHORIZATION: Final = "LUMBAR_DICOMWEB_AUTHORIZATION"
"""Environment variable with the value of the HTTP header Authorization; never on the command line."""

SPIDER: Final = "spider"
"""Value of `--labels` for the masks of SPIDER as they are published."""


@dataclass(frozen=True, slots=True)
class Source:
    """The options that say where from; exactly one of the first four is set."""

    dicom: Path | None
    dicomweb: str | None
    volumes: tuple[Path, Path] | None
    nnunet: Path | None
    study: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        """Name of the option that is set.

        Raises:
            UsageError: none, or several.
        """
        options = {
            "dicom": self.dicom,
            "dicomweb": self.dicomweb,
            "volumes": self.volumes,
            "nnunet": self.nnunet,
        }
        named = [name for name, value in options.items() if value is not None]
        if len(named) != 1:
            raise UsageError(
                "the source is not unique; give one of --dicom FOLDER, --dicomweb URL, --volumes IMAGES LABELS,"
                " --nnunet DATASET"
            )
        return named[0]


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
    nnunet: Annotated[
        Path | None, typer.Option(help="Raw dataset of nnU-Net v2 (DatasetNNN_Name).")
    ] = None,
    labels: Annotated[
        Path | None,
        typer.Option(
            help="Table (TOML) from label or segment to structure; spider: that data set."
        ),
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
    cut_arches: Annotated[
        bool,
        typer.Option("--cut-arches", help="Cut arches off L4 and L5; the canal must be labelled."),
    ] = False,
) -> None:
    """Import external labelled images, under pseudonyms.

    DICOM: MR series with DICOM SEG; segments are identified by their code, or by --labels. Volumes:
    images and label maps of the same name on one grid (.nii, .nii.gz, .mha, .nrrd) or segmentations of
    3D Slicer (.seg.nrrd), by the names of their segments. nnU-Net: imagesTr and labelsTr, by the names in
    dataset.json. The volumes of each case are printed. Existing cases are kept, so the same command continues an
    interrupted import. Keep OUT/pseudonym.key (mode 0600), and never publish it.

    \b
    Examples:
      lumbar-train import --out cases --dicom exported --licence "CC BY 4.0"
      lumbar-train import --out cases --licence internal \\
        --dicomweb http://localhost:8042/dicom-web --study 1.2.3
      lumbar-train import --out cases --licence internal \\
        --volumes images masks --labels table.toml
      lumbar-train import --out cases --licence "CC BY 4.0" \\
        --volumes images masks --labels spider
      lumbar-train import --out cases --licence internal \\
        --nnunet nnUNet_raw/Dataset501_Lumbar

    \b
    Exit status: 0 all imported or already there, 2 options, table or secret,
    4 a pair was refused (the others are imported) or nothing was found,
    5 the DICOMweb server failed.

    \b
    Files: OUT/CASE.npz, OUT/CASE.json, OUT/manifest.json, OUT/pseudonym.key,
    OUT/folds.json (with --nnunet, of its splits_final.json)
    table.toml: [labels] with lines such as 1 = "l4", 7 = "pm.left",
    9 = "background", 203 = "disc.l34", 3 = "body.l3", 99 = "ignored"
    """
    from training.importing import importer, label_table
    from training.importing.deidentify import SECRET_NAME, read_or_create_secret

    source = Source(dicom, dicomweb, volumes, nnunet, tuple(study or ()))
    is_spider = volumes is not None and str(labels) == SPIDER and not Path(SPIDER).exists()
    _check_options(source, licence, patients, keep_dicom=keep_dicom)
    if volumes is not None and labels is None and not _names_segments(volumes[1]):
        raise UsageError("--volumes needs --labels TABLE: numbers in a label map name no structure")
    if keep_dicom:
        _needs("dicomanonymizer", "--keep-dicom")
    table = None if labels is None or is_spider else label_table.read_table(labels)
    key = read_or_create_secret(secret or out / SECRET_NAME)
    today = datetime.now(UTC).date().isoformat()
    options = importer.ImportOptions(
        out, source.kind, licence.strip(), key, today, keep_dicom, mirrored_vessels, cut_arches
    )
    try:
        with _pairs(out, source, table, patients, is_spider=is_spider) as pairs:
            done = importer.import_all(pairs, options, _warn)
    except OSError as error:
        raise ImportRefused(
            f"{error.filename or out}: {error.strerror}; correct it and run the command again"
        ) from error
    if nnunet is not None:
        _take_folds(nnunet, out, done.by_name)
    typer.echo(f"{out}: {len(done.imported)} imported, {len(done.existing)} already there")
    if done.refused:
        count = len(done.refused)
        raise ImportRefused(f"{count} refused, see above; correct them and run the command again")


def _take_folds(dataset: Path, out: Path, by_name: Mapping[str, str]) -> None:
    """Write the folds of nnU-Net's dataset as OUT/folds.json; those that part a person are named and not taken."""
    from training.data import folds as folding
    from training.data.cases import list_cases_in
    from training.data.nnunet import folds_of_splits
    from training.data.persons import read_persons
    from training.importing.nnunet import read_splits

    try:
        splits = read_splits(dataset)
        if not splits or not by_name:
            return
        persons = read_persons([p for p in list_cases_in(out) if p.stem in by_name.values()])
        patients = {path.stem: person for path, person in persons.by_path.items()}
        named = [{k: [by_name[c] for c in v if c in by_name] for k, v in s.items()} for s in splits]
        folds = folds_of_splits(named, patients)
        folding.check_folds(folds, patients)
    except FoldsError as refusal:
        _warn(f"the dataset's folds are not taken: {refusal}")
        return
    folding.write_folds(out / "folds.json", folds, 0)
    _warn(f"{out / 'folds.json'}: {len(folds)} folds of the dataset, for the --out of `crossval`")


def _names_segments(labels: Path) -> bool:
    """Return whether a folder holds segmentations that name their segments."""
    from training.importing.slicer import END

    return labels.name.lower().endswith(END) or any(
        p.name.lower().endswith(END) for p in labels.rglob("*")
    )


def _needs(package: str, option: str) -> None:
    if find_spec(package) is None:
        raise UsageError(f"{option} needs {package}; install the train extra")


def _warn(line: str) -> None:
    typer.echo(line, err=True)


def _check_options(
    source: Source, licence: str, patients: Path | None, *, keep_dicom: bool
) -> None:
    of_files = source.kind in {"volumes", "nnunet"}
    wrong = {
        "--licence is empty; name the licence or the agreement": not licence.strip(),
        "--dicomweb needs --study UID": source.kind == "dicomweb" and not source.study,
        "--study belongs to --dicomweb": source.kind != "dicomweb" and bool(source.study),
        "--patients belongs to --volumes and --nnunet; DICOM carries its own ids": not of_files
        and patients is not None,
        "--keep-dicom belongs to --dicom and --dicomweb": of_files and keep_dicom,
    }
    for message, is_so in wrong.items():
        if is_so:
            raise UsageError(message)


@contextmanager
def _pairs(
    out: Path,
    source: Source,
    table: LabelTable | None,
    patients: Path | None,
    *,
    is_spider: bool,
) -> Iterator[Iterator[PendingPair]]:
    """Yield the pairs of the source that is set; fetched files are removed at the end."""
    if source.kind in {"volumes", "nnunet"}:
        yield _pairs_of_files(source, table or {}, patients, is_spider=is_spider)
        return
    from training.importing import dicom as import_dicom

    if source.dicom is not None:
        yield import_dicom.pending(source.dicom, table)
        return
    from training.importing import dicomweb as import_dicomweb

    authorization, url = os.environ.get(AUTHORIZATION, ""), str(source.dicomweb)
    studies = list(source.study)
    with import_dicomweb.fetched_studies(url, studies, out, authorization, _warn) as folder:
        yield import_dicom.pending(folder, table)


def _pairs_of_files(
    source: Source, table: LabelTable, patients: Path | None, *, is_spider: bool
) -> Iterator[PendingPair]:
    _needs("nibabel", f"--{source.kind}")
    from training.importing import files, nnunet, spider

    ids = None if patients is None else files.read_patients(patients)
    if source.nnunet is not None:
        return nnunet.pending(source.nnunet, table, ids, _warn)
    images, maps = source.volumes or (Path(), Path())
    if is_spider:
        return spider.pending(images, maps, ids, _warn)
    if ids is None:
        _warn("patient ids are taken from the file names; --patients names who was scanned twice")
    return files.pending(images, maps, table, ids)
