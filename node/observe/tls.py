"""What needs attention in `[tls]` and `[cluster]`: files that the next start would refuse, and certificates that end soon."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from node.config.sections import Config
from node.errors import SecretUnusable, TlsError
from node.observe.attention import Matter
from node.tls.credentials import Credentials, roles
from node.tls.expiry import RENEW, ending_soon

if TYPE_CHECKING:
    from node.observe.doctor import Finding

RENEW_CLUSTER: Final = "replace the file, and restart scheduler, workers and node"
"""Dask reads its certificates once."""


def tls_matters(config: Config, now: float) -> list[Matter]:
    """Return what needs attention; now: seconds since 1970. A credential of the service cannot be read here."""
    matters = []
    try:
        Credentials(config.tls).prepare(roles(config))
    except TlsError as error:
        matters.append(
            Matter("tls", "[tls]", "unusable", str(error), "the next start would be refused")
        )
    except SecretUnusable:
        pass
    for section, remedy in ((config.tls, RENEW), (config.cluster.tls, RENEW_CLUSTER)):
        matters += [
            Matter("certificate", str(e.path), "expiring", e.when(now), remedy)
            for e in ending_soon(section, now)
        ]
    return matters


def tls_findings(config: Config, now: float) -> list[Finding]:
    """Return the same as findings of `doctor`."""
    from node.observe.doctor import Finding  # noqa: PLC0415 - it loads pydicom, which `status` does without

    return [
        Finding(f"{m.kind}-{m.state}", m.subject, f"{m.reason}; {m.remedy}")
        for m in tls_matters(config, now)
    ]
