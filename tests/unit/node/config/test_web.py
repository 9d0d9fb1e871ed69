from __future__ import annotations

from pathlib import Path

import pytest
from pydantic import ValidationError

from node.config.sections import Config, NodeConfig
from node.config.tls import TlsConfig
from node.config.web import WebConfig
from node.tls.credentials import roles


def test_off_by_default_and_on_loopback_when_on() -> None:
    assert WebConfig().port == 0
    assert (WebConfig(port=8080).host, WebConfig(port=8080).auth) == ("127.0.0.1", "local")


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3"])  # noqa: S104
def test_beyond_loopback_only_with_tls_or_behind_a_proxy(host: str) -> None:
    with pytest.raises(ValidationError, match="set tls = true"):
        WebConfig(port=8080, host=host)
    assert WebConfig(port=8080, host=host, tls=True).host == host
    assert WebConfig(port=8080, host=host, auth="proxy", proxies=("10.0.0.5",)).host == host
    assert WebConfig(host=host).port == 0


def test_a_header_is_believed_from_listed_addresses_only() -> None:
    with pytest.raises(ValidationError, match="list the addresses"):
        WebConfig(port=8080, auth="proxy")
    with pytest.raises(ValidationError, match="not an IP address"):
        WebConfig(port=8080, auth="proxy", proxies=("proxy.example",))


def test_tls_needs_a_certificate_and_its_context(tmp_path: Path) -> None:
    node, web = NodeConfig(ae_title="A"), WebConfig(port=8080, tls=True)
    with pytest.raises(ValidationError, match=r"\[web\] tls = true needs \[tls\] certificate"):
        Config(node=node, web=web)
    made = Config(node=node, web=web, tls=TlsConfig(certificate="c.pem", private_key="k.pem"))
    assert roles(made) == ("server",)
