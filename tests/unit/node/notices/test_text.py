from __future__ import annotations

from node.notices.changes import Changes
from node.notices.conditions import Condition
from node.notices.text import Day, changes_message, changes_text, digest_message, digest_text

PACS = Condition("k", "delivery pacs waiting, 3 ×: PACS does not answer", "check that it runs")
NOW = 1_700_000_000.0


def test_message_says_what_where_and_what_to_do() -> None:
    begun = changes_text(Changes((PACS,)), NOW)
    message = changes_message("lumbar-node", [begun], 0)
    assert message.subject == "[lumbar-node] delivery pacs waiting, 3 ×"
    lines = message.text.splitlines()
    assert lines[0].startswith("New, 2023-11-1")
    assert lines[1:3] == [f"- {PACS.what}", "  What to do: check that it runs"]
    assert lines[-1] == "lumbar-node: `lumbar-node status` shows what needs attention now."


def test_end_and_several_changes_in_one() -> None:
    over = changes_text(Changes((), ("delivery web waiting, 1 ×: no answer",)), NOW)
    assert changes_message("n", [over], 0).subject == "[n] over: delivery web waiting, 1 ×"
    both = changes_message("n", [changes_text(Changes((PACS,)), NOW), over], 4)
    assert both.subject == "[n] delivery pacs waiting, 3 × and 1 more"
    assert both.text.startswith("4 earlier changes are not listed.\n\nNew, ")


def test_digest() -> None:
    day = Day(640, {"MR1": 512, "MR2": 128}, {"delivered": 5, "skipped": 0}, {})
    text = digest_text(day, [PACS], NOW)
    assert text.splitlines()[2:] == [
        "Received: 640 objects (512 MR1, 128 MR2)",
        "Series: (5 delivered)",
        "Deliveries: no change",
        "",
        "Needs attention:",
        f"- {PACS.what}",
        "  What to do: check that it runs",
    ]
    assert digest_message("n", text).subject == "[n] 1 needs attention"
    quiet = digest_message("n", digest_text(Day(0, {}, {}, {}), [], NOW))
    assert quiet.subject == "[n] nothing needs attention"
    assert "Nothing needs attention." in quiet.text
