"""The text of `config.toml`: every key with its default and its sentence."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from node.config.destinations import DicomDestination, DicomwebDestination, FolderDestination
from node.config.render import render, table
from node.config.sections import Config, NodeConfig

_EXAMPLES: Final = (
    FolderDestination(name="folder", kind="folder", path=Path("state/delivered")),
    DicomDestination(name="pacs", kind="dicom", ae_title="PACS", host="127.0.0.1", port=4242),
    DicomwebDestination(name="web", kind="dicomweb", url="http://127.0.0.1:8042/dicom-web"),
)


def example() -> str:
    """Return the text of `config.toml`: every key with its default; the servers are commented out."""
    folder, *servers = _EXAMPLES
    text = render(Config(node=NodeConfig(ae_title="LUMBARNODE", destination=(folder,))))
    receive = text.index("\n# Who may send")
    commented = [
        f"#{line}" if line and not line.startswith("#") else line
        for server in servers
        for line in table(server, "[[node.destination]]", comments=True)
    ]
    return _INTRODUCTION + text[:receive] + "\n".join(commented) + "\n" + text[receive:]


_INTRODUCTION: Final = """\
# Every key of lumbar-node with its default. Delete what you do not change; only the AE titles and
# the destinations have no default. Relative paths start at this file's folder.
# Check it: lumbar-node check-config

"""
