from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from node.config.cluster import ClusterConfig
from node.config.receive import ReceiveConfig
from node.config.sections import Config, NodeConfig
from node.config.tls import TlsConfig
from node.observe.tls import tls_findings, tls_matters
from node.tls.expiry import DAY_S, endings
from tests.support.certificates import Authority, Pair, needs_openssl

pytestmark = [pytest.mark.process, needs_openssl]


def _config(tls: TlsConfig) -> Config:
    return Config(node=NodeConfig(ae_title="N"), receive=ReceiveConfig(tls="mutual"), tls=tls)


def test_certificate_that_ends_is_one_condition_from_day_to_day(
    authority: Authority, issued: Callable[[str], Pair]
) -> None:
    config = _config(authority.config(issued("node")))
    (ending,) = (e for e in endings(config.tls) if e.key == "certificate")
    keys, lines = set(), set()
    for days in (40, 20, 19, -1):
        now = ending.ends_at - days * DAY_S
        matters = tls_matters(config, now)
        lines |= {m.line for m in matters}
        keys |= {(m.kind, m.subject, m.state) for m in matters}
    assert keys == {("certificate", str(ending.path), "expiring")}
    assert len(lines) == 3


def test_file_that_the_next_start_would_refuse_is_found_now(
    authority: Authority, issued: Callable[[str], Pair], tmp_path: Path
) -> None:
    key = tmp_path / "open.key"
    key.write_bytes(issued("node").key.read_bytes())
    key.chmod(0o604)
    tls = authority.config(issued("node")).model_copy(update={"private_key": str(key)})
    (finding,) = tls_findings(_config(tls), 0.0)
    assert finding.kind == "tls-unusable"
    assert "chmod 600" in finding.remedy


def test_credential_of_the_service_is_no_finding_elsewhere(
    authority: Authority, issued: Callable[[str], Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    tls = authority.config(issued("node")).model_copy(update={"private_key": "credential:key"})
    assert tls_findings(_config(tls), 0.0) == []


def test_certificate_of_the_cluster_ends_too_and_is_read_at_a_start_only(
    authority: Authority, issued: Callable[[str], Pair]
) -> None:
    files = authority.config(issued("node"))
    cluster = ClusterConfig(
        certificate=files.certificate, private_key=files.private_key, trusted=files.trusted
    )
    config = Config(node=NodeConfig(ae_title="N"), cluster=cluster)
    (ending,) = (e for e in endings(cluster.tls) if e.key == "certificate")
    (matter,) = tls_matters(config, ending.ends_at - 20 * DAY_S)
    assert (matter.subject, matter.state) == (files.certificate, "expiring")
    assert "restart scheduler, workers and node" in matter.remedy
