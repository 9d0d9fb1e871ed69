"""The validators and readers that judge objects: a table of programs, and where they are on this machine."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from types import MappingProxyType
from typing import Final

from node.verify import judges
from node.verify.child import own_module
from node.verify.classes import IMAGES, PDF, REPORTS, SEGMENTATIONS, Applies, every
from node.verify.judges import Judge

Command = list[str | Path]


@dataclass(frozen=True, slots=True)
class Tool:
    """A program that judges one object."""

    name: str
    """Column of the table; several programs may share one."""
    program: str
    """Names of the program, joined by `|`; one of our modules that needs a package, as `package:NAME`."""
    applies: Applies
    """Whether it judges objects of a SOP class."""
    command: Callable[[str, Path, Path], Command]
    """Command line from the program's path, the object's path and the scratch folder."""
    judge: Judge
    """What its answer says of the object."""


def _edition() -> Path | None:
    """Return the newest edition of the standard prepared for dicom-validator; None where there is none.

    The program fetches what is absent from the standard's web site, so it is not run without.
    """
    root = Path.home() / "dicom-validator"
    editions = sorted(p.parent for p in root.glob("[12][0-9][0-9][0-9][a-h]/json"))
    return editions[-1] if editions and (root / "editions.json").is_file() else None


def _validator_command(program: str, path: Path, _: Path) -> Command:
    edition = _edition() or Path()
    return [program, "--standard-path", edition.parent, "--edition", edition.name, path]


TOOLS: Final[tuple[Tool, ...]] = (
    Tool("dciodvfy", "dciodvfy", every, lambda p, o, _: [p, o], judges.dciodvfy),
    Tool("DCMTK", "dcmdump", every, lambda p, o, _: [p, "-q", o], judges.dcmtk),
    Tool("DCMTK", "dsrdump", REPORTS.__contains__, lambda p, o, _: [p, o], judges.dcmtk),
    Tool(
        "DCMTK",
        "dcm2img|dcmj2pnm",
        IMAGES.__contains__,
        lambda p, o, s: [p, o, s / "image.pnm"],
        judges.dcmtk,
    ),
    Tool("DCMTK", "dcm2pdf", PDF.__contains__, lambda p, o, s: [p, o, s / "x.pdf"], judges.dcmtk),
    Tool(
        "dcmqi",
        "tid1500reader",
        REPORTS.__contains__,
        lambda p, o, s: [p, "--inputDICOM", o, "--outputMetadata", s / "report.json"],
        judges.dcmqi(judges.dcmqi_report),
    ),
    Tool(
        "dcmqi",
        "segimage2itkimage",
        SEGMENTATIONS.__contains__,
        lambda p, o, s: [p, "--inputDICOM", o, "--outputDirectory", s, "--outputType", "nrrd"],
        judges.dcmqi(judges.dcmqi_segments),
    ),
    Tool(
        "highdicom",
        "package:highdicom",
        (REPORTS | SEGMENTATIONS | IMAGES).__contains__,
        lambda _, o, __: own_module("read_highdicom", o),
        judges.reader(judges.highdicom_reading),
    ),
    Tool(
        "dicomweb",
        "package:dicomweb-client",
        every,
        lambda _, o, s: own_module("read_dicomweb", o, s),
        judges.lines,
    ),
    Tool("validator", "validate_iods", every, _validator_command, judges.validator),
)
"""Every tool, in the order of the columns."""

BETWEEN: Final = Tool("dciodvfy", "dcentvfy", every, lambda p, _, __: [p], judges.dciodvfy)
"""Compares all objects of a folder; their paths follow."""

REMEDIES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "dciodvfy": "apt install dicom3tools",
        "DCMTK": "apt install dcmtk",
        "dcmqi": "pip install dcmqi",
        "highdicom": "pip install highdicom",
        "dicomweb": "pip install dicomweb-client",
        "validator": "pip install dicom-validator; its tables in ~/dicom-validator",
    }
)
"""How the tools of each column are installed, in the order of the columns."""


def located(tool: Tool) -> str | None:
    """Return the path of a tool's program, None where it is not installed or lacks its data."""
    if tool.program.startswith("package:"):
        return sys.executable if _package_version(tool.program[8:]) else None
    if tool.program == "validate_iods" and _edition() is None:
        return None
    beside = str(Path(sys.executable).parent)
    path = os.pathsep.join((beside, os.environ.get("PATH", os.defpath)))
    found = (shutil.which(name, path=path) for name in tool.program.split("|"))
    return next((f for f in found if f is not None), None)


def _package_version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return ""
