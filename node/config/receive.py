"""`[receive]`: who may send, and how much."""

from __future__ import annotations

from pydantic import Field, model_validator

from node.config.fields import AE, Network, Section


class ReceiveConfig(Section):
    """`[receive]`: who may send, and how much."""

    calling_ae_titles: tuple[AE, ...] = Field(
        default=(), description="Calling AE titles that may send; empty = all."
    )
    called_ae_titles: tuple[AE, ...] = Field(
        default=(), description="Called AE titles that are accepted; empty = the node's own only."
    )
    peers: tuple[Network, ...] = Field(
        default=(),
        description='IP addresses and networks that may connect, e.g. "10.1.0.0/16"; empty = all.',
    )
    max_associations: int = Field(
        default=20, ge=1, le=200, description="Simultaneous associations."
    )
    max_associations_per_peer: int = Field(
        default=10, ge=1, le=200, description="Simultaneous associations from one address."
    )
    reserved_associations: int = Field(
        default=4,
        ge=0,
        description="Associations kept free for known peers: listed in [receive], or senders of earlier objects.",
    )
    idle_seconds: float = Field(
        default=30.0, gt=0, description="Association idle timeout, in seconds."
    )
    least_kb_per_second: float = Field(
        default=4.0,
        gt=0,
        description="Slowest accepted rate within an object; a sender idle_seconds behind it is disconnected.",
    )
    max_object_mb: int = Field(
        default=1024, ge=1, description="Largest accepted object in MB (after inflating)."
    )
    max_unfinished_mb: int = Field(
        default=8192,
        ge=1,
        description="Disk space in MB for objects of all senders that are still being received.",
    )
    disk_low_mb: int = Field(
        default=1024,
        ge=0,
        description="Free disk space (MB) below which associations are rejected, except for C-ECHO (low watermark).",
    )
    disk_high_mb: int = Field(
        default=2048,
        ge=0,
        description="Free disk space (MB) above which associations are accepted again (high watermark).",
    )

    @model_validator(mode="after")
    def _consistent(self) -> ReceiveConfig:
        if self.disk_high_mb < self.disk_low_mb:
            raise ValueError("disk_high_mb is below disk_low_mb; make it the larger one")
        if self.reserved_associations >= self.max_associations:
            raise ValueError(
                f"reserved_associations leaves none of {self.max_associations} for new senders;"
                " make it smaller than max_associations"
            )
        return self
