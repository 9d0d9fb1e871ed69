from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

from node.journal.rows import DeliveryRow, SeriesKey
from node.journal.states import DeliveryState
from node.observe.attention import delivery_matter
from node.observe.deliveries import attention, delivery_json, delivery_line, outdated

NO_ANSWER = "seg.dcm: no association: PACS@10.0.0.1:104 does not answer; check that it runs"


def _row(number: int, state: DeliveryState, detail: str = NO_ANSWER, **changes: Any) -> DeliveryRow:
    row = DeliveryRow(
        number, f"r{number}", Path("r"), "pacs", state, 1, 1_700_000_000.0 + number, detail, 0.0, SeriesKey("1", "2")
    )  # fmt: skip
    return replace(row, **changes)


def test_one_line_per_destination_and_reason_with_the_next_try() -> None:
    rows = [_row(n, DeliveryState.WAITING) for n in range(3, 11)]
    rows += [_row(20, DeliveryState.WAITING, destination="other")]
    rows += [_row(30, DeliveryState.DEAD, "seg.dcm: takes no objects", next_try_at=None)]
    rows += [_row(40, DeliveryState.DEAD, "superseded"), _row(50, DeliveryState.PENDING, "")]
    found = attention(rows)
    assert [(e["destination"], e["state"], len(e["results"])) for e in found] == [
        ("pacs", "waiting", 8),
        ("other", "waiting", 1),
        ("pacs", "dead", 1),
    ]
    first, other, dead = (delivery_matter(e).line for e in found)
    assert first.startswith("8 × delivery pacs waiting (r3, …), next try ")
    assert found[0]["next_try"] == delivery_json(rows[0])["next_try"]
    assert first.endswith(f": {NO_ANSWER}")
    assert other.startswith("1 × delivery other waiting (r20), next try ")
    assert dead == (
        "1 × delivery pacs failed (r30): seg.dcm: takes no objects; `lumbar-node retry UID` sends it again"
    )


def test_result_that_another_replaced_needs_no_one_but_its_withdrawal_may() -> None:
    dead = _row(1, DeliveryState.DEAD, "seg.dcm: takes no objects", because="newer_input")
    waiting = _row(2, DeliveryState.WAITING, because="corrected_identity")
    assert attention([dead, waiting]) == []
    (entry,) = attention([replace(dead, kind="withdrawal")])
    assert entry["kind"] == "withdrawal"


def test_remedy_of_the_reason_is_the_only_one() -> None:
    reason = (
        "seg.dcm: not the bytes that were written; `lumbar-node retry UID --force` makes it again"
    )
    (entry,) = attention([_row(1, DeliveryState.DEAD, reason, next_try_at=None)])
    assert delivery_matter(entry).line == f"1 × delivery pacs failed (r1): {reason}"


def test_unproven_and_withdrawn_are_shown() -> None:
    unproven = _row(
        1, DeliveryState.CONFIRMED, 'proof = "none"', proof="unproven", next_try_at=None
    )
    found = _row(1, DeliveryState.CONFIRMED, "", proof="found", next_try_at=None)
    taken_back = _row(2, DeliveryState.CONFIRMED, "", kind="withdrawal", next_try_at=None)
    lines = [delivery_line(delivery_json(r)) for r in (unproven, found, taken_back)]
    assert lines == [
        'r1 → pacs confirmed (unproven): proof = "none"',
        "r1 → pacs confirmed",
        "r2 withdrawal → pacs confirmed",
    ]


def test_a_question_without_an_answer_needs_attention() -> None:
    row = _row(1, DeliveryState.SENT, "", fault="QIDO-RS answers HTTP 503", try_at=1_700_000_009.0)
    (entry,) = attention([row])
    assert (entry["state"], entry["reason"]) == ("sent", "QIDO-RS answers HTTP 503")
    assert entry["next_try"] is not None


def test_results_of_a_corrected_patient_that_are_still_held_need_attention() -> None:
    (entry,) = outdated({"pacs": ["r1", "r2"]})
    assert delivery_matter(entry).line.startswith(
        "2 × delivery pacs held (r1, …): made before the patient"
    )
