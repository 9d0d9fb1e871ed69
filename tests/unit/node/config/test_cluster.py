from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from node.config.cluster import ClusterConfig
from node.config.file import read_config
from node.errors import ConfigError

FILES = {"certificate": "a.crt", "private_key": "a.key", "trusted": "ca.crt"}


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "[::1]"])
def test_without_tls_on_loopback_alone(host: str) -> None:
    assert not ClusterConfig(scheduler=f"tcp://{host}:8786").is_encrypted


@pytest.mark.parametrize("host", ["0.0.0.0", "10.1.2.3", "gpu1.example", "[::]"])  # noqa: S104
def test_beyond_loopback_it_is_tls(host: str) -> None:
    with pytest.raises(ValidationError, match="runs what they send; write tls://"):
        ClusterConfig(scheduler=f"tcp://{host}:8786", **FILES)  # type: ignore[arg-type]
    assert ClusterConfig(scheduler=f"tls://{host}:8786", **FILES).is_encrypted  # type: ignore[arg-type]


@pytest.mark.parametrize("left_out", FILES)
def test_tls_needs_all_three_files(left_out: str) -> None:
    files = {k: v for k, v in FILES.items() if k != left_out}
    with pytest.raises(ValidationError, match=f"{left_out} missing: both ends"):
        ClusterConfig(scheduler="tls://10.1.2.3:8786", **files)  # type: ignore[arg-type]


@pytest.mark.parametrize("address", ["10.1.2.3:8786", "http://h:1", "tls://h", "tls://:1", "tls://h:99999"])  # fmt: skip
def test_what_is_no_address(address: str) -> None:
    with pytest.raises(ValidationError, match="is not an address; write"):
        ClusterConfig(scheduler=address, **FILES)  # type: ignore[arg-type]


def test_the_engine_needs_a_scheduler(tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text('[node]\nae_title = "N"\n[work]\nengine = "dask"\n')
    with pytest.raises(ConfigError, match=r'\[work\] engine = "dask" needs \[cluster\] scheduler'):
        read_config(path)
    path.write_text(
        path.read_text() + '[cluster]\nscheduler = "tls://h:1"\n'
        'certificate = "a.crt"\nprivate_key = "a.key"\ntrusted = "ca.crt"\n'
    )
    config = read_config(path)
    assert config.cluster.tls.certificate == str(tmp_path / "a.crt")
    assert ("cluster.private_key", str(tmp_path / "a.key")) in config.secrets()
