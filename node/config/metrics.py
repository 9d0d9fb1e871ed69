"""`[metrics]`: where monitoring asks the node."""

from __future__ import annotations

from pydantic import Field, model_validator

from cluster.address import is_loopback
from node.config.fields import SecretFile, Section


class MetricsConfig(Section):
    """`[metrics]`: Prometheus metrics, health and readiness over HTTP."""

    port: int = Field(
        default=0, ge=0, le=65535, description="Port of /metrics, /health and /ready; 0 = off."
    )
    host: str = Field(
        default="127.0.0.1",
        min_length=1,
        description="Address to listen on; any but loopback needs authorization_file.",
    )
    tls: bool = Field(
        default=False, description="Serve over TLS with the certificate of [tls] (https)."
    )
    authorization_file: SecretFile = Field(
        default="",
        description='File with what a client must send: "Bearer TOKEN" or "user:password", or "credential:NAME" of systemd; empty = no login.',
    )

    @model_validator(mode="after")
    def _login_beyond_loopback(self) -> MetricsConfig:
        if self.port and not is_loopback(self.host) and not self.authorization_file:
            raise ValueError(
                f'host = "{self.host}" is reached from other machines; set authorization_file,'
                ' or host = "127.0.0.1"'
            )
        return self
