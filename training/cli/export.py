"""`lumbar-train export`: a bundle from the weights of a run, a level finder and a roots network."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from training.cli.options import writable_file, writable_folder


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export")(export)


def _writable(out: Path) -> Path:
    """Return what can be written: a file that exists, or a new file or folder."""
    return (writable_file(out) if out.is_file() else writable_folder(out)) or out


def export(  # noqa: PLR0913, PLR0917 - one argument per option of the command line
    run: Annotated[
        Path, typer.Option(help="Folder of a training run, or a bundle whose weights are kept.")
    ],
    out: Annotated[
        Path, typer.Option(help="Folder of the bundle, or file of the network.", callback=_writable)
    ],
    level: Annotated[
        list[Path] | None,
        typer.Option(help="Weights of a level finder (.pt, .safetensors); repeat to combine."),
    ] = None,
    version: Annotated[str, typer.Option(help="Version written into every result.")] = "",
    name: Annotated[str, typer.Option(help="Name of the bundle.")] = "lumbar-l45",
    card: Annotated[Path | None, typer.Option(help="JSON file of further card fields.")] = None,
    roots: Annotated[
        Path | None, typer.Option(help="Roots network: output of `roots`, or a bundle.")
    ] = None,
    mean_with: Annotated[
        list[Path] | None,
        typer.Option(help="Run or bundle whose weights are averaged with those of --run; repeat."),
    ] = None,
    form: Annotated[
        str,
        typer.Option("--as", help="bundle, torchscript, onnx or monai."),
    ] = "bundle",
) -> None:
    """Write a bundle from the EMA weights of a run.

    It joins a segmentation network, a level finder and, if given, a roots network, converts each for
    OpenVINO, and is test-loaded.

    --as torchscript, onnx and monai write the segmentation network of the bundle --run alone, for other
    programs: from a z-scored window about L4/5 to logits. Selection, level finder, refinement of roots
    and measuring are not in it; OUT.json (monai: configs/metadata.json) gives window, spacing, axes and
    channels. Research use only.

    \b
    Examples:
      lumbar-train export --run run --level level.pt --out bundle --version 0.2.0
      lumbar-train export --run old --level a.pt --level b.pt --roots roots.pt \\
        --out new --version 0.2.1 --card more.json
      lumbar-train export --run a --mean-with b --level b/level.safetensors \\
        --out new --version 0.3.0
      lumbar-train export --run bundle --as onnx --out lumbar-l45.onnx

    \b
    Exit status: 0 done, 2 wrong card or options, 4 unreadable weights, 6 the
    bundle does not load.
    """
    from training import export as exporting
    from training.errors import UsageError

    if form != "bundle":
        given = bool(level or version or card or roots or mean_with)
        typer.echo(str(_portable(run, out, form, given=given)))
        return
    if not level or not version:
        raise UsageError("a bundle needs --level and --version")
    if out.is_file():
        raise UsageError(f"{out} is a file; name the folder of the bundle")
    try:
        extra = {} if card is None else dict(json.loads(card.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"{card}: {error}; give a JSON object") from error
    today = datetime.now(UTC).date().isoformat()
    fields = exporting.CardFields(version, today, name, extra)
    typer.echo(str(exporting.export(run, level, out, fields, roots, mean_with or [])))


def _portable(run: Path, out: Path, form: str, *, given: bool) -> Path:
    from training import portable
    from training.errors import UsageError

    if form not in portable.FORMS:
        raise UsageError(f"--as {form} is not known; give bundle, torchscript, onnx or monai")
    if given:
        raise UsageError(
            f"--as {form} takes the networks of a bundle as they are; give --run and --out"
        )
    if form == "monai":
        if out.is_file():
            raise UsageError(f"{out} is a file; name the folder of the bundle")
        return portable.write_monai(run, out)
    if out.is_dir():
        raise UsageError(f"{out} is a folder; name a file")
    out.parent.mkdir(parents=True, exist_ok=True)
    if form == "onnx":
        return portable.write_onnx(run, out)
    return portable.write_torchscript(run, out)
