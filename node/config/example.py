"""The text of `config.toml`: every key with its default and its sentence."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

from node.config.destinations import DicomDestination, DicomwebDestination, FolderDestination
from node.config.fields import Section
from node.config.pull import DicomSource, DicomwebSource, PullRuleConfig
from node.config.render import render, table
from node.config.sections import Config, NodeConfig

_EXAMPLES: Final = (
    FolderDestination(name="folder", kind="folder", path=Path("state/delivered")),
    DicomDestination(name="pacs", kind="dicom", ae_title="PACS", host="127.0.0.1", port=4242),
    DicomwebDestination(name="web", kind="dicomweb", url="http://127.0.0.1:8042/dicom-web"),
)
_PULLS: Final = (
    ("[[pull.source]]", DicomSource(name="archive", kind="dicom-move", ae_title="PACS", host="127.0.0.1", port=4242)),
    ("[[pull.source]]", DicomwebSource(name="archive-web", kind="dicomweb", url="http://127.0.0.1:8042/dicom-web")),
    ("[[pull.rule]]", PullRuleConfig(name="nightly", source="archive", descriptions=("lumb", "lws", "spine"))),
)  # fmt: skip


def example() -> str:
    """Return the text of `config.toml`: every key with its default; the servers are commented out."""
    folder, *servers = _EXAMPLES
    text = render(Config(node=NodeConfig(ae_title="LUMBARNODE", destination=(folder,))))
    text = _inserted(text, "\n# Who may send", [("[[node.destination]]", s) for s in servers])
    return _INTRODUCTION + _inserted(text, "\n# Prometheus metrics", _PULLS)


def _inserted(text: str, before: str, tables: Sequence[tuple[str, Section]]) -> str:
    """Return the text with tables in comments before a line of it."""
    place = text.index(before)
    commented = [
        f"#{line}" if line and not line.startswith("#") else line
        for header, section in tables
        for line in table(section, header, comments=True)
    ]
    return text[:place] + "\n".join(commented) + "\n" + text[place:]


_INTRODUCTION: Final = """\
# Every key of lumbar-node with its default. Delete what you do not change; only the AE titles and
# the destinations have no default. Relative paths start at this file's folder.
# Check it: lumbar-node check-config

"""
