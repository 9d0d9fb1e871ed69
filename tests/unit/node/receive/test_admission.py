from __future__ import annotations

import pytest

from node.config.receive import CallerConfig, ReceiveConfig
from node.receive.admission import (
    MB,
    DiskGate,
    address_known,
    called_allowed,
    caller_refusal,
    is_open,
)

PACS = CallerConfig(name="pacs", ae_title="PACS", addresses=("10.1.2.3", "10.1.2.4"))
MR = CallerConfig(name="mr", ae_title="MR1", addresses=("10.2.0.0/16",), certificate="MR1.example")
ROOM = CallerConfig(name="room", addresses=("10.3.0.0/16",))
CALLERS = (PACS, MR, ROOM)


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
def test_address_is_one_of_a_caller(address: str, networks: tuple[str, ...], allowed: bool) -> None:
    callers = (CallerConfig(name="a", addresses=networks),) if networks else ()
    assert address_known(address, callers) is allowed


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


@pytest.mark.parametrize(
    ("address", "calling", "certificate", "reason"),
    [
        ("10.1.2.3", "PACS", (), ""),
        ("10.1.2.4", "PACS   ", (), ""),
        ("10.3.9.9", "ANYTHING", (), ""),
        ("10.2.0.1", "MR1", ("mr1.example", "mr1"), ""),
        ("10.9.0.1", "PACS", (), "its address is in no [[receive.caller]]"),
        # The title of one caller with the address of another is neither.
        (
            "10.2.0.1",
            "PACS",
            ("mr1.example",),
            "calling AE title 'PACS' with this address is in no",
        ),
        ("10.1.2.3", "MR1", ("mr1.example",), "calling AE title 'MR1' with this address is in no"),
        ("10.2.0.1", "MR1", ("pacs.example",), "certificate of ['pacs.example'] is not that of"),
        ("10.2.0.1", "MR1", (), 'certificate of [] is not that of [[receive.caller]] "mr"'),
    ],
)
def test_address_title_and_certificate_belong_to_the_same_caller(
    address: str, calling: str, certificate: tuple[str, ...], reason: str
) -> None:
    found = caller_refusal(CALLERS, address, calling, certificate)
    assert found.startswith(reason)
    assert bool(found) == bool(reason)


def test_every_peer_may_send_until_a_caller_is_listed() -> None:
    assert caller_refusal((), "10.9.9.9", "X", ()) == ""


@pytest.mark.parametrize(
    ("config", "host", "is_it"),
    [
        (ReceiveConfig(), "0.0.0.0", True),  # noqa: S104 - the value is judged, not used
        (ReceiveConfig(), "pacs.example", True),
        (ReceiveConfig(), "127.0.0.1", False),
        (ReceiveConfig(), "::1", False),
        (ReceiveConfig(), "localhost", False),
        (ReceiveConfig(tls="server"), "10.1.2.3", True),
        (ReceiveConfig(tls="mutual"), "10.1.2.3", False),
        (ReceiveConfig(caller=(PACS,)), "10.1.2.3", False),
    ],
)
def test_node_is_open_beyond_loopback_without_callers(
    config: ReceiveConfig, host: str, is_it: bool
) -> None:
    assert is_open(config, host) is is_it


def test_gate_closes_at_the_low_mark_and_opens_at_the_high_one() -> None:
    gate = DiskGate(100 * MB, 200 * MB)
    closed = []
    for free_mb in (500, 100, 99, 150, 199, 200, 150):
        gate = gate.seen(free_mb * MB)
        closed.append(gate.closed)
    assert closed == [False, False, True, True, True, False, False]
