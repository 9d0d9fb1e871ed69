"""The header of syslog, and what of a collector's configuration is refused."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from node.audit.collector import Header, syslog_message
from node.audit.forward import forward_step
from node.audit.trail import Trail
from node.config.audit import AuditConfig
from node.config.file import default_config
from node.errors import ConfigError
from tests.support.clock import Clock


def _trail(tmp_path: Path) -> Trail:
    return Trail(tmp_path / "audit", b"", lambda: 1_795_000_000.0)


def test_facility_and_severity_follow_the_outcome() -> None:
    header = Header("host name", "lumbar-node", 7)
    message = syslog_message(header, "2026-11-18T00:00:00.000Z", "success", 1, b"<?xml/>")
    assert message.startswith(b"<85>1 2026-11-18T00:00:00.000Z host_name lumbar-node 7 ")
    assert syslog_message(header, "t", "serious_failure", 1, b"")[:4] == b"<83>"


@pytest.mark.parametrize(
    "value", ["host:514", "http://h:1", "udp://h", "udp://h:0", "udp://h:70000", "udp://u:p@h:1"]
)
def test_an_address_that_is_none_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="must be"):
        AuditConfig(syslog=value)


def test_tls_needs_authorities_and_no_collector_is_no_step(tmp_path: Path, clock: Clock) -> None:
    with pytest.raises(ConfigError, match=r"\[audit\] syslog by tls needs \[tls\] trusted"):
        default_config(tmp_path, {"LUMBAR_NODE__AUDIT__SYSLOG": "tls://localhost:6514"})
    config = default_config(tmp_path)
    assert forward_step(config, _trail(tmp_path), clock, ssl.create_default_context) is None  # type: ignore[arg-type]
