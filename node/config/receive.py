"""`[receive]` and `[[receive.caller]]`: who may send, how, and how much."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from node.config.fields import AE, Name, Network, Section


class CallerConfig(Section):
    """`[[receive.caller]]`: a peer that may send; as soon as there is one, every other peer is refused."""

    name: Name = Field(description="Name of the caller in the log; required.")
    ae_title: AE | Literal[""] = Field(
        default="", description="Its calling AE title; empty = any from its addresses."
    )
    addresses: tuple[Network, ...] = Field(
        min_length=1,
        description='Its IP addresses and networks, e.g. ["10.1.2.3"] or ["10.1.0.0/16"]; required.',
    )
    certificate: str = Field(
        default="",
        max_length=255,
        description='Common name or DNS name in its certificate, with tls = "mutual"; empty = any trusted one.',
    )


class ReceiveConfig(Section):
    """`[receive]`: who may send, and how much."""

    tls: Literal["off", "mutual", "server"] = Field(
        default="off",
        description='TLS of incoming connections: "mutual" (peers need a trusted certificate), "server" (they need none) or "off".',
    )
    called_ae_titles: tuple[AE, ...] = Field(
        default=(), description="Called AE titles that are accepted; empty = the node's own only."
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
        description="Associations kept free for known peers: every [[receive.caller]], and senders of earlier objects.",
    )
    max_associations_per_minute: int = Field(
        default=0,
        ge=0,
        description="Associations per minute from one address, C-ECHO alone not counted; more are rejected for now; 0 = no limit.",
    )
    max_mb_per_minute: int = Field(
        default=0,
        ge=0,
        description="MB per minute from one address; a faster sender is slowed down; 0 = no limit.",
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

    caller: tuple[CallerConfig, ...] = Field(default=(), description="")

    @field_validator("caller")
    @classmethod
    def _one_name_each(cls, value: tuple[CallerConfig, ...]) -> tuple[CallerConfig, ...]:
        names = [c.name for c in value]
        doubled = sorted({n for n in names if names.count(n) > 1})
        if doubled:
            raise ValueError(f'two callers are named "{doubled[0]}"; rename one')
        return value

    @model_validator(mode="after")
    def _consistent(self) -> ReceiveConfig:
        if self.disk_high_mb < self.disk_low_mb:
            raise ValueError("disk_high_mb is below disk_low_mb; make it the larger one")
        if self.reserved_associations >= self.max_associations:
            raise ValueError(
                f"reserved_associations leaves none of {self.max_associations} for new senders;"
                " make it smaller than max_associations"
            )
        named = next((c.name for c in self.caller if c.certificate), None)
        if named is not None and self.tls != "mutual":
            raise ValueError(
                f'caller "{named}" has a certificate, which only tls = "mutual" asks for; set it, or leave it out'
            )
        return self
