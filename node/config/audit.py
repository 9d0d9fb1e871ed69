"""`[audit]`: the audit trail, and where it is also sent."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator, Field

from node.config.fields import SecretFile, Section

_COLLECTOR: Final = re.compile(r"(udp|tcp|tls)://(\[[0-9A-Fa-f:.]+\]|[^\s/?#:@\[\]]+):([0-9]{1,5})")


def _collector(value: str) -> str:
    if value and collector(value) is None:
        raise ValueError(
            'must be "udp://host:514", "tcp://host:601" or "tls://host:6514", with its port'
        )
    return value


def collector(value: str) -> tuple[str, str, int] | None:
    """Return protocol, host and port of a collector; None where it is none."""
    found = _COLLECTOR.fullmatch(value)
    if found is None or not 0 < int(found[3]) < 65536:
        return None
    return found[1], found[2].strip("[]"), int(found[3])


class AuditConfig(Section):
    """`[audit]`: the audit trail, which is kept in `audit` of the state directory, and where it is also sent."""

    key_file: SecretFile = Field(
        default="",
        description="File with a secret that keys the hashes of the trail (HMAC-SHA-256); empty = plain SHA-256.",
    )
    syslog: Annotated[str, AfterValidator(_collector)] = Field(
        default="",
        description='Collector of DICOM audit messages, as "udp://host:514", "tcp://host:601" or "tls://host:6514" (by [tls]); empty = none.',
    )

    @property
    def by_tls(self) -> bool:
        """Whether the collector is reached by TLS."""
        return self.syslog.startswith("tls:")
