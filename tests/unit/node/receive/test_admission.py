from __future__ import annotations

import pytest

from node.receive.admission import MB, DiskGate, called_allowed, calling_allowed, peer_allowed


@pytest.mark.parametrize(
    ("address", "networks", "allowed"),
    [
        ("10.1.2.3", (), True),
        ("10.1.2.3", ("10.1.0.0/16",), True),
        ("10.2.2.3", ("10.1.0.0/16",), False),
        ("10.2.2.3", ("10.1.0.0/16", "10.2.2.3"), True),
        ("::ffff:10.1.2.3", ("10.1.0.0/16",), True),
        ("fe80::1", ("10.1.0.0/16",), False),
        ("fe80::1", ("fe80::/10",), True),
        ("not an address", ("0.0.0.0/0",), False),
    ],
)
def test_peer_lies_in_a_network(address: str, networks: tuple[str, ...], allowed: bool) -> None:
    assert peer_allowed(address, networks) is allowed


@pytest.mark.parametrize(
    ("called", "others", "allowed"),
    [
        ("NODE", (), True),
        ("NODE            ", (), True),
        ("node", (), False),
        ("ANY-SCP", (), False),
        ("OLD", ("NODE", "OLD"), True),
        ("NODE", ("OLD",), False),
    ],
)
def test_called_title_is_one_of_ours(called: str, others: tuple[str, ...], allowed: bool) -> None:
    assert called_allowed(called, "NODE", others) is allowed


def test_calling_titles_are_open_until_listed() -> None:
    assert calling_allowed("ANYBODY", ())
    assert calling_allowed("MR1   ", ("MR1", "PACS"))
    assert not calling_allowed("MR2", ("MR1", "PACS"))


def test_gate_closes_at_the_low_mark_and_opens_at_the_high_one() -> None:
    gate = DiskGate(100 * MB, 200 * MB)
    closed = []
    for free_mb in (500, 100, 99, 150, 199, 200, 150):
        gate = gate.seen(free_mb * MB)
        closed.append(gate.closed)
    assert closed == [False, False, True, True, True, False, False]
