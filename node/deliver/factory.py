"""The destinations that the configuration describes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from node.config.destinations import (
    DestinationConfig,
    DicomDestination,
    FolderDestination,
)
from node.deliver.folder import Folder
from node.deliver.port import Archive, Destination
from node.tls.credentials import Credentials

if TYPE_CHECKING:
    from node.deliver.dicom import Pacs


def build(
    config: DestinationConfig, ae_title: str, credentials: Credentials | None = None
) -> Destination:
    """Make the destination that the configuration describes; network code is imported here only."""
    if isinstance(config, FolderDestination):
        return Folder(config.name, config.path)
    if isinstance(config, DicomDestination):
        return _pacs(config, ae_title, credentials)
    from node.deliver.dicomweb import DicomwebServer  # noqa: PLC0415 - as above

    return DicomwebServer.of(config, credentials)


def build_archive(
    config: DicomDestination, ae_title: str, credentials: Credentials | None = None
) -> Archive:
    """Make the peer that storage commitment is exchanged with."""
    return _pacs(config, ae_title, credentials)


def _pacs(config: DicomDestination, ae_title: str, credentials: Credentials | None) -> Pacs:
    from node.deliver.dicom import Pacs  # noqa: PLC0415 - half a second of pynetdicom

    return Pacs.of(config, ae_title, credentials)


def build_all(
    configs: Sequence[DestinationConfig], ae_title: str, credentials: Credentials | None = None
) -> Mapping[str, Destination]:
    """Return every configured destination by its name."""
    return {c.name: build(c, ae_title, credentials) for c in configs}
