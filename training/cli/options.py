"""Options that several commands share, and the check that `--out` can be written before work starts."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Annotated, Any

import typer


def _check_folder(folder: Path) -> None:
    """Try to write into a folder, or into the nearest one above it that exists.

    Raises:
        typer.BadParameter: the folder cannot be written, or a part of its path is a file.
    """
    nearest = next(p for p in (folder, *folder.absolute().parents) if p.exists())
    if not nearest.is_dir():
        raise typer.BadParameter(f"{nearest} is a file; choose a folder")
    try:
        with tempfile.TemporaryFile(dir=nearest):
            pass
    except OSError as error:
        raise typer.BadParameter(
            f"{nearest} cannot be written ({error.strerror}); choose another"
        ) from error


def writable_folder(folder: Path | None) -> Path | None:
    """Return the folder if a command could write into it; it need not exist.

    Raises:
        typer.BadParameter: it could not.
    """
    if folder is not None:
        _check_folder(folder)
    return folder


def writable_file(file: Path | None) -> Path | None:
    """Return the file if a command could write it; its folder is made if it does not exist.

    Raises:
        typer.BadParameter: it could not be written, or is a folder.
    """
    if file is None:
        return None
    if file.is_dir():
        raise typer.BadParameter(f"{file} is a folder; name a file")
    _check_folder(file.parent)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if file.exists():
            with file.open("ab"):
                pass
    except OSError as error:
        raise typer.BadParameter(
            f"{file} cannot be written ({error.strerror}); choose another"
        ) from error
    return file


def out_folder(description: str) -> Any:
    """Declare `--out` as a folder that is checked before the command starts."""
    return typer.Option("--out", help=description, callback=writable_folder)


def out_file(description: str, name: str = "--out") -> Any:
    """Declare an option as a file to write that is checked before the command starts."""
    return typer.Option(name, help=description, callback=writable_file)


CasesOption = Annotated[
    Path, typer.Option("--cases", help="Folder of prepared cases; subfolders are read as well.")
]
CaseOption = Annotated[
    list[str] | None,
    typer.Option("--case", help="Case id; repeat. Default: the held-out cases of the card."),
]
BundleOption = Annotated[
    Path | None, typer.Option("--bundle", help="Folder of the bundle; default: the shipped one.")
]
RecipeOption = Annotated[
    Path | None, typer.Option("--recipe", help="Recipe (TOML); default: built-in values.")
]
HeldOutOption = Annotated[
    list[str] | None,
    typer.Option("--held-out", help="Case id to exclude from training; repeat."),
]
StartOption = Annotated[
    Path | None, typer.Option("--start", help="Bundle or file of weights to start from.")
]
SeedOption = Annotated[int, typer.Option("--seed", min=0, help="Seed of every sample.")]
MixedOption = Annotated[
    bool,
    typer.Option("--mixed/--no-mixed", help="Train in bfloat16 where the CPU supports it (×4)."),
]
ThreadsOption = Annotated[
    int, typer.Option("--threads", min=0, help="CPU threads; 0 = all cores (torch's default).")
]


DeviceOption = Annotated[
    str,
    typer.Option("--device", help="auto (a GPU where there is one), cpu, cuda, cuda:N or mps."),
]
WorkersOption = Annotated[
    int | None,
    typer.Option(
        "--workers",
        min=0,
        help="Processes that draw samples ahead. Default: none on a CPU, up to 8 for each GPU.",
    ),
]


def engine_device(word: str) -> str:
    """Return the device of a bundle's engine, which is then that of this process.

    Raises:
        UsageError: an unknown word, or a device that is not here or runs no bundle.
    """
    if word == "auto":
        return word
    import torch

    from training.errors import UsageError
    from training.fit.device import choose_device

    device = choose_device(word)
    if device.type == "mps":
        raise UsageError("--device mps runs no bundle; give auto or cpu")
    if device.type == "cuda":
        torch.cuda.set_device(device)
    return device.type


def use_threads(threads: int) -> None:
    """Set the CPU threads of torch; 0 leaves its default."""
    import torch

    if threads:
        torch.set_num_threads(threads)
