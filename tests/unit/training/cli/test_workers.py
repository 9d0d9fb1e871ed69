"""Addresses and certificates of workers, checked before anything is trained or digested."""

from __future__ import annotations

from pathlib import Path

import pytest

from training.cli.workers import reach
from training.errors import NotInstalled, UsageError

FILES = (Path("a.crt"), Path("a.key"), Path("ca.crt"))


def test_loopback_needs_no_certificate_and_other_machines_do() -> None:
    pytest.importorskip("distributed")
    assert reach("tcp://127.0.0.1:8786", None, None, None) is None
    files = reach("tls://10.1.2.3:8786", *FILES)
    assert files is not None
    assert (files.certificate, files.private_key, *files.trusted) == FILES


@pytest.mark.parametrize(
    ("address", "files", "why"),
    [
        ("", FILES, "--scheduler is missing"),
        ("tcp://10.1.2.3:8786", FILES, "is open to everyone"),
        ("10.1.2.3", FILES, "is not an address"),
        ("tls://10.1.2.3:8786", (None, None, None), "--certificate, --private-key, --trusted missing"),
        ("tls://10.1.2.3:8786", (FILES[0], None, FILES[2]), "--private-key missing"),
        ("tcp://127.0.0.1:8786", (None, None, FILES[2]), "--certificate, --private-key missing"),
    ],
)  # fmt: skip
def test_what_is_missing_is_named(
    address: str, files: tuple[Path | None, Path | None, Path | None], why: str
) -> None:
    pytest.importorskip("distributed")
    with pytest.raises(UsageError, match=why):
        reach(address, *files)


def test_without_dask_the_remedy_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cluster.extra.find_spec", lambda _: None)
    with pytest.raises(NotInstalled, match="make install-cluster"):
        reach("tcp://127.0.0.1:8786", None, None, None)
