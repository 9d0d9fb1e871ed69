"""`lumbar-train export`: a bundle from the weights of a run, a level finder and a roots network."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from training.cli.options import out_folder


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("export")(export)


def export(  # noqa: PLR0913, PLR0917 - one argument per option of the command line
    run: Annotated[
        Path, typer.Option(help="Folder of a training run, or a bundle whose weights are kept.")
    ],
    level: Annotated[
        list[Path],
        typer.Option(help="Weights of a level finder (.pt, .safetensors); repeat to combine."),
    ],
    out: Annotated[Path, out_folder("Folder of the bundle.")],
    version: Annotated[str, typer.Option(help="Version written into every result.")],
    name: Annotated[str, typer.Option(help="Name of the bundle.")] = "lumbar-l45",
    card: Annotated[Path | None, typer.Option(help="JSON file of further card fields.")] = None,
    roots: Annotated[
        Path | None, typer.Option(help="Roots network: output of `roots`, or a bundle.")
    ] = None,
    mean_with: Annotated[
        list[Path] | None,
        typer.Option(help="Run or bundle whose weights are averaged with those of --run; repeat."),
    ] = None,
) -> None:
    """Write a bundle from the EMA weights of a run.

    It joins a segmentation network, a level finder and, if given, a roots network, converts each for
    OpenVINO, and is test-loaded.

    \b
    Examples:
      lumbar-train export --run run --level level.pt --out bundle --version 0.2.0
      lumbar-train export --run old --level a.pt --level b.pt --roots roots.pt \\
        --out new --version 0.2.1 --card more.json
      lumbar-train export --run a --mean-with b --level b/level.safetensors \\
        --out new --version 0.3.0

    \b
    Exit status: 0 done, 2 wrong card, 4 unreadable weights, 6 the bundle does
    not load.
    """
    from training import export as exporting
    from training.errors import UsageError

    try:
        extra = {} if card is None else dict(json.loads(card.read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(f"{card}: {error}; give a JSON object") from error
    today = datetime.now(UTC).date().isoformat()
    fields = exporting.CardFields(version, today, name, extra)
    typer.echo(str(exporting.export(run, level, out, fields, roots, mean_with or [])))
