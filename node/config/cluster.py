"""`[cluster]`: machines that compute for the node."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from cluster.address import check_address, is_encrypted
from node.config.fields import FileName, SecretFile, Section
from node.config.tls import TlsConfig


def _address(value: str) -> str:
    return check_address(value) if value else value


Address = Annotated[str, AfterValidator(_address)]
"""`tls://HOST:PORT`, on loopback also `tcp://HOST:PORT`; empty = none."""


class ClusterConfig(Section):
    """`[cluster]`: the machines that compute where [work] engine is "dask"; read by scheduler and workers too."""

    scheduler: Address = Field(
        default="",
        description='Address of the scheduler, "tls://HOST:PORT"; "tcp://" is taken on loopback only.',
    )
    certificate: FileName = Field(
        default="", description="PEM file of this machine's certificate in the cluster."
    )
    private_key: SecretFile = Field(
        default="", description="PEM file of its private key, closed to other users (chmod 600)."
    )
    trusted: FileName = Field(
        default="",
        description="PEM file of the cluster's own authority. Whoever has a certificate of it runs programs on every machine.",
    )
    slots: int = Field(
        default=0,
        ge=0,
        description="Most workers that this node uses at the same time, where several nodes share a cluster; 0 = all.",
    )
    fallback: Literal["wait", "local"] = Field(
        default="wait",
        description='Without a usable worker: "wait", or "local" (one worker process computes by itself).',
    )
    deadline_seconds: float = Field(
        default=60.0,
        gt=0,
        description="Shortest limit of one segmentation on the cluster, in seconds; else ten times the median.",
    )
    silent_seconds: float = Field(
        default=30.0,
        ge=1,
        description="Seconds without a sign of life after which the scheduler gives a worker up.",
    )

    @model_validator(mode="after")
    def _files_are_named(self) -> ClusterConfig:
        keys = ("certificate", "private_key", "trusted")
        missing = [key for key in keys if not getattr(self, key)]
        if missing and (self.is_encrypted or len(missing) < len(keys)):
            raise ValueError(
                f"{', '.join(missing)} missing: both ends of a connection show a certificate;"
                " make an authority for this cluster alone"
            )
        return self

    @property
    def is_encrypted(self) -> bool:
        """Whether the scheduler is reached by TLS."""
        return is_encrypted(self.scheduler)

    @property
    def tls(self) -> TlsConfig:
        """The files as `node.tls` reads them."""
        return TlsConfig(
            certificate=self.certificate, private_key=self.private_key, trusted=self.trusted
        )
