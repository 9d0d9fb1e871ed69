from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("distributed")

import dask

from node.cluster.secured import security, settle
from node.config.cluster import ClusterConfig
from node.errors import TlsError
from tests.support.certificates import Authority, needs_openssl

pytestmark = [needs_openssl, pytest.mark.process]


def _config(authority: Authority, pair: Any, **changes: str) -> ClusterConfig:
    files = {
        "certificate": str(pair.certificate), "private_key": str(pair.key),
        "trusted": str(authority.certificate), **changes,
    }  # fmt: skip
    return ClusterConfig(scheduler="tls://127.0.0.1:8786", **files)  # type: ignore[arg-type]


def test_every_role_shows_the_certificate_and_asks_for_one(
    authority: Authority, issued: Any
) -> None:
    made = security(_config(authority, issued("worker")))
    assert made.require_encryption
    for role in ("client", "scheduler", "worker"):
        context = made.get_connection_args(role)["ssl_context"]
        assert context.verify_mode.name == "CERT_REQUIRED"
        assert context.minimum_version.name == "TLSv1_2"
    assert made.get_listen_args("scheduler")["ssl_context"].verify_mode.name == "CERT_REQUIRED"


def test_a_file_that_cannot_be_used_is_named_with_its_section(
    authority: Authority, issued: Any, tmp_path: Path
) -> None:
    (tmp_path / "empty.pem").write_text("")
    with pytest.raises(TlsError, match=r"\[cluster\] trusted: .*empty\.pem: no PEM certificate"):
        security(_config(authority, issued("worker"), trusted=str(tmp_path / "empty.pem")))


def test_a_lost_task_is_never_tried_again_by_the_cluster() -> None:
    settle(ClusterConfig(silent_seconds=7))
    assert dask.config.get("distributed.scheduler.allowed-failures") == 0
    assert dask.config.get("distributed.scheduler.worker-ttl") == "7s"
    assert dask.config.get("distributed.scheduler.http.routes") == []
