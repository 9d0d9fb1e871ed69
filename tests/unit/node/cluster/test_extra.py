from __future__ import annotations

import pytest

from cluster import extra as shared
from node.cluster.extra import require_extra
from node.errors import ClusterRefused


def test_a_missing_package_is_named_with_how_to_install_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(shared, "find_spec", lambda _: None)
    with pytest.raises(ClusterRefused, match=r"distributed, which is not installed; `sh install.sh --cluster`, `make install-cluster`"):  # fmt: skip
        require_extra()
    monkeypatch.setattr(shared, "find_spec", lambda name: name)
    require_extra()
