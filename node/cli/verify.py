"""`verify`: results judged by every validator that is installed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from node.cli.options import JsonOption
from node.cli.output import leave_with, print_json, print_line, print_progress, print_table, warn


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("verify")(verify)


def verify(
    folder: Annotated[
        Path, typer.Argument(help="Result folder, folder of results, or of DICOM files.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Check results with every validator that is installed.

    Columns: dciodvfy, DCMTK, dcmqi, highdicom, dicomweb-client,
    dicom-validator, and checks of our own. "known": harmless, with its
    reason below the table; "-": not for this object.

    \b
    Examples:
      lumbar-node verify results/
      lumbar-node verify results/944474a46bc7583192167afd3e3652d4 --json

    \b
    Exit status: 0 no errors, 2 wrong path, 3 nothing to check, 4 errors found.
    """
    from node.cli import verify_tables as tables
    from node.errors import NothingToVerify
    from node.verify.folders import find_folders
    from node.verify.run import verify as judge

    folders = find_folders(folder)
    if not any(f.objects or f.has_result for f in folders):
        for line in (line for f in folders for line in f.skipped):
            warn(f"skipped file: {line}")
        raise NothingToVerify(f"no results or DICOM files under {folder}")
    report = judge(folders, print_progress)
    if as_json:
        print_json(tables.report_json(report))
    else:
        for part in report.folders:
            print_line(part.folder)
            print_table(tables.folder_table(report, part))
            for line in tables.finding_lines(part):
                print_line(line)
        for line in tables.tool_lines(report):
            print_line(line)
        for line in report.skipped:
            warn(f"skipped file: {line}")
    leave_with(4 if report.count("error") else 0)
