"""`[tls]`: the node's certificate, and the authorities whose certificates it trusts."""

from __future__ import annotations

from pydantic import Field, model_validator

from node.config.fields import FileName, SecretFile, Section


class TlsConfig(Section):
    """`[tls]`: files of the node's certificate and of trusted authorities, for `[receive] tls` and for destinations."""

    certificate: FileName = Field(
        default="",
        description="PEM file of the node's certificate, with intermediate ones behind it; empty = none.",
    )
    private_key: SecretFile = Field(
        default="",
        description="PEM file of its private key, not encrypted, closed to other users (chmod 600).",
    )
    trusted: FileName = Field(
        default="",
        description="PEM file, or folder of *.pem and *.crt files, of the authorities that sign the peers' certificates.",
    )

    revoked: FileName = Field(
        default="",
        description="PEM file of the revocation lists (CRL) of every authority that signs peers; empty = not checked.",
    )

    @model_validator(mode="after")
    def _pair(self) -> TlsConfig:
        if bool(self.certificate) != bool(self.private_key):
            missing = "private_key" if self.certificate else "certificate"
            raise ValueError(f"{missing} is missing; certificate and private_key are a pair")
        if self.revoked and not self.trusted:
            raise ValueError("trusted is missing; revoked lists certificates of those authorities")
        return self

    def require(self, what: str, *, pair: bool, trusted: bool) -> None:
        """Check that the keys are set which something needs. Raises ValueError that names it."""
        keys = (("certificate", pair), ("private_key", pair), ("trusted", trusted))
        missing = [key for key, needed in keys if needed and not getattr(self, key)]
        if missing:
            raise ValueError(f"{what} needs [tls] {' and '.join(missing)}; set them")

    @property
    def identified(self) -> bool:
        """Whether the node has a certificate."""
        return bool(self.certificate)
