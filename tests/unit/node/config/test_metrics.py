from __future__ import annotations

import pytest
from pydantic import ValidationError

from node.config.metrics import MetricsConfig, is_loopback


def test_off_and_on_loopback_without_a_login() -> None:
    assert MetricsConfig().port == 0
    assert MetricsConfig(port=9104).host == "127.0.0.1"
    assert MetricsConfig(host="10.1.2.3").port == 0


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3", "node.hospital.example"])  # noqa: S104
def test_beyond_loopback_only_with_a_login(host: str) -> None:
    with pytest.raises(ValidationError, match="set authorization_file"):
        MetricsConfig(port=9104, host=host)
    assert MetricsConfig(port=9104, host=host, authorization_file="token").host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.1.2.3", "::1", "localhost"])
def test_loopback(host: str) -> None:
    assert is_loopback(host)
