"""`lumbar-train import`: parses, calls, prints."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from training.errors import ImportRefused, UsageError

if TYPE_CHECKING:
    from training.importing.label_table import Table
    from training.importing.rules import Options, Pending, Summary

AUTHORIZATION: Final = "LUMBAR_DICOMWEB_AUTHORIZATION"
"""Environment variable with the value of the HTTP header Authorization; never on the command line."""

Given = tuple[Path | None, str | None, tuple[Path, Path] | None]
"""--dicom, --dicomweb, --nifti; one of them is given."""

_HELP: Final = r"""Import other people's labelled images as prepared cases, under pseudonyms.

DICOM: MR series with DICOM SEG; segments are known by their code, or by --labels. NIfTI: images and
label maps of the same name on one grid. Cases that stand there are left as they are, so an interrupted
import is continued by the same command. [bold]OUT[/bold] gets the cases, manifest.json and the secret
pseudonym.key (0600): keep it, and never hand it on.

[bold]Examples[/bold]

  lumbar-train import --out cases --dicom exported --licence "CC BY 4.0"

  lumbar-train import --out cases --dicomweb http://localhost:8042/dicom-web --study 1.2.3 --licence internal

  lumbar-train import --out cases --nifti images masks --labels table.toml --patients patients.csv --licence internal

table.toml: \[labels] with lines 1 = "l4", 2 = "ivd", 7 = "pm.left", 9 = "background".

[bold]Exit status[/bold]: 0 all imported or there already, 2 options, table or secret refused, 4 a pair refused
or nothing found (the others are imported), 5 the DICOMweb server failed.
"""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command(name="import", help=_HELP)(import_cases)


def import_cases(  # noqa: PLR0913, PLR0917 - one argument per option of the command line
    out: Annotated[Path, typer.Option(help="Folder to write the cases to.")],
    licence: Annotated[str, typer.Option(help="Licence of these data; stands on every card.")],
    dicom: Annotated[Path | None, typer.Option(help="Folder with MR and SEG.")] = None,
    dicomweb: Annotated[str | None, typer.Option(help="Address of a DICOMweb server.")] = None,
    study: Annotated[
        list[str] | None, typer.Option(help="Study Instance UID on that server; repeat.")
    ] = None,
    nifti: Annotated[
        tuple[Path, Path] | None, typer.Option(help="Folders of images and of label maps.")
    ] = None,
    labels: Annotated[
        Path | None, typer.Option(help="Table (TOML) label or segment to structure.")
    ] = None,
    patients: Annotated[
        Path | None, typer.Option(help="CSV file,patient for NIfTI; else from the names.")
    ] = None,
    secret: Annotated[
        Path | None, typer.Option(help="Secret of the project; OUT/pseudonym.key without it.")
    ] = None,
    keep_dicom: Annotated[
        bool, typer.Option("--keep-dicom", help="Keep the DICOM objects too, de-identified.")
    ] = False,
) -> None:
    """Import labelled images as prepared cases."""
    from training.importing import label_table
    from training.importing import rules as importing
    from training.importing.deidentify import SECRET_NAME, secret_in

    source = _source(dicom, dicomweb, nifti)
    _check_options(source, licence, study, labels, patients, keep_dicom=keep_dicom)
    if keep_dicom:
        _needs("dicomanonymizer", "--keep-dicom")
    table = None if labels is None else label_table.read(labels)
    key = secret_in(secret or out / SECRET_NAME)
    today = datetime.now(UTC).date().isoformat()
    options = importing.Options(out, source, licence.strip(), key, today, keep_dicom)
    try:
        done = _run(options, (dicom, dicomweb, nifti), study or [], table, patients)
    except OSError as error:
        raise ImportRefused(
            f"{error.filename or out}: {error.strerror}; put it right and run the command again"
        ) from error
    typer.echo(f"{out}: {len(done.made)} imported, {len(done.standing)} there already")
    if done.refused:
        count = len(done.refused)
        raise ImportRefused(f"{count} refused, see above; put them right and run the command again")


def _run(
    options: Options, given: Given, study: list[str], table: Table | None, patients: Path | None
) -> Summary:
    from training.importing import rules as importing

    with _pairs(options.out, given, study, table, patients) as pairs:
        return importing.import_all(pairs, options, lambda line: typer.echo(line, err=True))


def _source(dicom: Path | None, dicomweb: str | None, nifti: tuple[Path, Path] | None) -> str:
    given = {"dicom": dicom, "dicomweb": dicomweb, "nifti": nifti}
    named = [name for name, value in given.items() if value is not None]
    if len(named) != 1:
        raise UsageError("give one of --dicom FOLDER, --dicomweb URL, --nifti IMAGES LABELS")
    return named[0]


def _needs(package: str, option: str) -> None:
    if find_spec(package) is None:
        raise UsageError(f"{option} needs {package}; install the train extra")


def _check_options(
    source: str,
    licence: str,
    study: list[str] | None,
    labels: Path | None,
    patients: Path | None,
    *,
    keep_dicom: bool,
) -> None:
    wrong = {
        "--licence is empty; name the licence or the agreement": not licence.strip(),
        "--dicomweb needs --study UID": source == "dicomweb" and not study,
        "--study belongs to --dicomweb": source != "dicomweb" and bool(study),
        "--nifti needs --labels TABLE": source == "nifti" and labels is None,
        "--patients belongs to --nifti; DICOM carries its own ids": source != "nifti"
        and patients is not None,
        "--keep-dicom belongs to --dicom and --dicomweb": source == "nifti" and keep_dicom,
    }
    for message, is_so in wrong.items():
        if is_so:
            raise UsageError(message)


@contextmanager
def _pairs(
    out: Path,
    given: Given,
    study: list[str],
    table: Table | None,
    patients: Path | None,
) -> Iterator[Iterator[Pending]]:
    """Pairs of the one source that is given; what was fetched is removed at the end."""
    dicom, dicomweb, nifti = given
    say: Callable[[str], None] = lambda line: typer.echo(line, err=True)  # noqa: E731
    if nifti is not None:
        _needs("nibabel", "--nifti")
        from training.importing import nifti as import_nifti

        told = None if patients is None else import_nifti.patients_of(patients)
        if told is None:
            say("patient ids are taken from the file names; --patients names who was scanned twice")
        yield import_nifti.pending(*nifti, table or {}, told)
        return
    from training.importing import dicom as import_dicom

    if dicom is not None:
        yield import_dicom.pending(dicom, table)
        return
    from training.importing import dicomweb as import_dicomweb

    authorization = os.environ.get(AUTHORIZATION, "")
    with import_dicomweb.fetched(str(dicomweb), study, out, authorization, say) as folder:
        yield import_dicom.pending(folder, table)
