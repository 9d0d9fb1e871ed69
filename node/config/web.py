"""`[web]`: where people look at the node with a browser."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from cluster.address import is_loopback
from node.config.fields import FileName, Network, Section, Text


class WebConfig(Section):
    """`[web]`: the console, pages about series, results and deliveries for a browser."""

    port: int = Field(default=0, ge=0, le=65535, description="Port of the console; 0 = off.")
    host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description='Address to listen on; any but loopback needs tls = true, or auth = "proxy".',
    )
    tls: bool = Field(
        default=False, description="Serve over TLS with the certificate of [tls] (https)."
    )
    names: tuple[Text, ...] = Field(
        default=(),
        description="Host names by which browsers reach the console, besides host and localhost.",
    )
    auth: Literal["local", "proxy"] = Field(
        default="local",
        description='"local" (name and password, see `lumbar-node users`) or "proxy" (a proxy names the user).',
    )
    proxies: tuple[Network, ...] = Field(
        default=(),
        description='Addresses or networks of the proxies; with auth = "proxy" every other address is refused.',
    )
    user_header: Text = Field(
        default="X-Remote-User",
        pattern=r"^[A-Za-z0-9-]{1,64}$",
        description='Header in which a proxy names the user, with auth = "proxy".',
    )
    idle_minutes: int = Field(
        default=30, ge=1, le=1440, description="Minutes without a request after which a login ends."
    )

    ohif: FileName = Field(
        default="",
        description="Folder with the built OHIF viewer (its index.html); physicians open results in it. Empty = none.",
    )
    archive: str = Field(
        default="",
        description='Name of the destination of kind "dicomweb" that the viewer reads from; required with ohif.',
    )

    @model_validator(mode="after")
    def _viewer_reads_somewhere(self) -> WebConfig:
        if bool(self.ohif) != bool(self.archive):
            raise ValueError(
                "ohif and archive belong together: the viewer needs its files and a dicomweb destination;"
                " set both or none"
            )
        return self

    institution: Text = Field(
        default="",
        max_length=64,
        description="Institution whose physicians confirm results (Verifying Organization); empty = they cannot.",
    )

    @model_validator(mode="after")
    def _login_beyond_loopback(self) -> WebConfig:
        if not self.port:
            return self
        if self.auth == "proxy" and not self.proxies:
            raise ValueError(
                'auth = "proxy" believes a header; list the addresses of the proxies in proxies'
            )
        if not is_loopback(self.host) and not self.tls and self.auth != "proxy":
            raise ValueError(
                f'host = "{self.host}" is reached from other machines; set tls = true,'
                ' or host = "127.0.0.1" behind a proxy'
            )
        return self
