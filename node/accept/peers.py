"""The destination under test with the way back from it, by its kind."""

from __future__ import annotations

from node.accept.port import Peer
from node.accept.retrieve import FolderRetriever, Retriever
from node.config.destinations import DestinationConfig, DicomDestination, FolderDestination
from node.config.sections import Config
from node.deliver.factory import build
from node.tls.credentials import Credentials


def build_peer(config: Config, name: str, credentials: Credentials) -> Peer:
    """Build the destination of this name; network code is imported here only."""
    section = next(d for d in config.destinations if d.name == name)
    own = config.node.ae_title
    return Peer(section, build(section, own, credentials), _retriever(section, own, credentials))


def _retriever(section: DestinationConfig, own: str, credentials: Credentials) -> Retriever:
    if isinstance(section, FolderDestination):
        return FolderRetriever(section.path)
    if isinstance(section, DicomDestination):
        from node.accept.retrieve_dicom import GetRetriever  # noqa: PLC0415 - half a second of pynetdicom
        from node.deliver.dicom_association import Caller  # noqa: PLC0415 - as above

        calling = section.calling_ae_title or own
        return GetRetriever(
            Caller(section.ae_title, section.host, section.port, calling, section.timeout_seconds,
                   credentials if section.tls else None)
        )  # fmt: skip
    from node.accept.retrieve_dicomweb import WadoRetriever  # noqa: PLC0415 - as above
    from node.deliver.dicomweb import DicomwebServer  # noqa: PLC0415 - as above

    return WadoRetriever(DicomwebServer.of(section, credentials))


def address(section: DestinationConfig) -> str:
    """Return where a destination is, for people; never a secret."""
    if isinstance(section, DicomDestination):
        return f"{section.ae_title}@{section.host}:{section.port}" + (" by TLS" if section.tls else "")  # fmt: skip
    if isinstance(section, FolderDestination):
        return str(section.path)
    return section.url
