from __future__ import annotations

from dataclasses import replace

from node.notices.conditions import LONGEST_REASON, Recent, current_conditions, outgoing
from node.observe.attention import Matter
from node.observe.health import Health

DELIVERY = Matter("delivery", "pacs", "waiting", "PACS does not answer", "check that it runs", 3)
NONE = Recent({}, 0)


def test_one_condition_per_kind_and_destination_not_per_object_or_reason() -> None:
    matters = [
        DELIVERY,
        replace(DELIVERY, reason="refused", count=2),
        replace(DELIVERY, subject="web"),
        replace(DELIVERY, state="dead"),
        Matter("quarantined", "series 1.2.3", "quarantined", "no pixels", "", 7, ("1.2.3",)),
        Matter("series", "1.2.3", "failed", "labels", "", 1, ("1.2.3",)),
    ]
    found = current_conditions(matters, Health(), NONE)
    assert set(found) == {"delivery|pacs|waiting", "delivery|web|waiting", "delivery|pacs|failed"}
    first = found["delivery|pacs|waiting"]
    assert first.lines == (
        "- delivery pacs waiting, 5 ×: PACS does not answer (and 1 more reason)",
        "  What to do: check that it runs",
    )


def test_alarm_of_a_protocol_is_one_condition_however_its_sentence_grows() -> None:
    alarm = Matter(
        "protocol", "MR1", "not eligible any more", "no eligible series for 3 days", "ask", 5
    )
    before = current_conditions([alarm], Health(), NONE)
    later = current_conditions([replace(alarm, reason="for 4 days", count=9)], Health(), NONE)
    assert set(before) == set(later) == {"protocol|MR1|"}


def test_health_is_named_without_its_numbers() -> None:
    def keys(free: int) -> set[str]:
        health = Health((), (f"{free} MB are free, below disk_low_mb 1024; free disk space",))
        return set(current_conditions([], health, NONE))

    assert keys(1000) == keys(999) != set()
    (condition,) = current_conditions(
        [], Health(("track has hung for 301 s; restart the node",)), NONE
    ).values()
    assert (condition.what, condition.remedy) == (
        "node: track has hung for 301 s",
        "restart the node",
    )


def test_failures_and_quarantine_count_for_a_day() -> None:
    found = current_conditions([], Health(), Recent({"labels": 3, "memory": 1}, 64))
    assert found["series|failed"].what == "series failed within a day, 4 ×, 3 of them: labels"
    assert found["objects|quarantined"].count == 64


def test_nothing_of_a_patient_leaves() -> None:
    text = outgoing(
        "series 1.2.840.113619.2.55.3 'Smith^John L4/5' (2.25.329800735698586629295641978511506172918)\n"
        'description "Müller", digest 0123456789abcdef0123456789abcdef, TE 55 ms at 10.0.0.1:104'
    )
    assert text == ("series UID … (UID) description …, digest …, TE 55 ms at 10.0.0.1:104")
    assert len(outgoing("x" * 5000)) == LONGEST_REASON
