"""`[[node.destination]]`: where results are sent, one model per kind."""

from __future__ import annotations

from typing import Annotated, Final, Literal

from pydantic import Field, model_validator

from node.config.fields import AE, Folder, Name, Port, SecretFile, Section, Url
from node.config.profiles import (
    Compression,
    ObjectFile,
    Profile,
    ProfileName,
    SegForm,
    resolve,
)


class _Destination(Section):
    name: Name = Field(description="Name of the destination in the log, in `why` and in `retry`.")
    profile: ProfileName = Field(
        default="dicom-viewer",
        description="What is sent, and in which form: by the kind of viewer or archive.",
    )
    objects: tuple[ObjectFile, ...] = Field(
        default=(), description="Files of a result that are sent; empty = those of the profile."
    )
    seg_form: Literal["", SegForm] = Field(
        default="",
        description='Form of seg.dcm: "default" (as in the result folder), "binary", "fractional" or "labelmap"; empty = that of the profile.',
    )
    compress: Literal["", Compression] = Field(
        default="",
        description='Compression of pixels: "none", or "rle" where the peer accepts it; empty = that of the profile.',
    )
    patience_days: float = Field(
        default=7.0,
        gt=0,
        le=3650,
        description="Days for which a delivery is retried before it is marked failed.",
    )
    first_wait_seconds: float = Field(
        default=5.0, gt=0, description="Seconds before the second attempt; doubled for each later one."
    )  # fmt: skip
    max_wait_seconds: float = Field(
        default=900.0, gt=0, description="Longest wait between two attempts, in seconds."
    )
    timeout_seconds: float = Field(
        default=30.0, gt=0, description="Seconds to wait for a response."
    )
    withdraw: bool = Field(
        default=False,
        description="Send a rejection note (IHE IOCM) for a result that a corrected or later one replaces.",
    )

    @property
    def patience_s(self) -> float:
        """Seconds of `patience_days`."""
        return self.patience_days * 86_400.0

    @property
    def sends(self) -> Profile:
        """The profile, with what this destination says otherwise."""
        return resolve(self.profile, self.objects, self.seg_form, self.compress)

    @model_validator(mode="after")
    def _waits(self) -> _Destination:
        if self.max_wait_seconds < self.first_wait_seconds:
            raise ValueError("max_wait_seconds is below first_wait_seconds; make it the larger one")
        return self


class DicomDestination(_Destination):
    """`kind = "dicom"`: C-STORE to a PACS; storage is verified by C-FIND or storage commitment."""

    kind: Literal["dicom"] = Field(description="Protocol: C-STORE to a PACS.")
    ae_title: AE = Field(description="AE title of the peer; required.")
    host: str = Field(min_length=1, description="Host name or IP address of the peer; required.")
    port: Port = Field(description="Port of the peer; required.")
    calling_ae_title: AE | Literal[""] = Field(
        default="", description="Calling AE title; empty = the node's own."
    )
    tls: bool = Field(
        default=False,
        description="Connect by TLS: the peer's certificate must be of [tls] trusted and name its host.",
    )
    proof: Literal["auto", "commitment", "query", "none"] = Field(
        default="auto",
        description='Proof that objects are stored: "query" (C-FIND), "commitment" (storage commitment),'
        ' "none", or "auto": C-FIND, storage commitment where the peer answers no C-FIND.',
    )


class DicomwebDestination(_Destination):
    """`kind = "dicomweb"`: STOW-RS; storage is verified by QIDO-RS where the server supports it."""

    kind: Literal["dicomweb"] = Field(description="Protocol: STOW-RS to a DICOMweb server.")
    url: Url = Field(description="Base address of the DICOMweb service; required.")
    authorization_file: SecretFile = Field(
        default="",
        description='File with the Authorization header, as "Bearer …", or "credential:NAME" of systemd; empty sends none.',
    )
    proof: Literal["auto", "query", "none"] = Field(
        default="auto",
        description='Proof that objects are stored: "auto" or "query" (QIDO-RS), or "none".',
    )

    @property
    def is_https(self) -> bool:
        """Whether the address is one of TLS."""
        return self.url.lower().startswith("https:")


class FolderDestination(_Destination):
    """`kind = "folder"`: files on disk, verified by reading them back."""

    kind: Literal["folder"] = Field(description="Protocol: files in a folder.")
    path: Folder = Field(description="Folder that gets one folder per result; required.")


DestinationConfig = Annotated[
    DicomDestination | DicomwebDestination | FolderDestination, Field(discriminator="kind")
]
KINDS: Final = ("dicom", "dicomweb", "folder")
