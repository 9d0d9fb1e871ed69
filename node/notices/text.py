"""Messages as plain text: subject and body (pure)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from node.clock import at_text
from node.notices.changes import Changes
from node.notices.conditions import Condition


@dataclass(frozen=True, slots=True)
class Message:
    """One message. kind: changes, digest or test."""

    kind: str
    subject: str
    text: str


@dataclass(frozen=True, slots=True)
class Day:
    """Numbers of the last 24 hours, for the digest. Objects and series by state or event."""

    objects: int
    senders: Mapping[str, int]
    series: Mapping[str, int]
    deliveries: Mapping[str, int]


def changes_text(changes: Changes, now: float) -> str:
    """Return what began and what is over, as the body of a message shows it."""
    lines = []
    if changes.begun:
        lines += [f"New, {at_text(now)}:", *(x for c in changes.begun for x in c.lines)]
    if changes.ended:
        lines += [f"Over, {at_text(now)}:", *(f"- {text}" for text in changes.ended)]
    return "\n".join(lines)


def changes_message(node: str, texts: Sequence[str], dropped: int) -> Message:
    """Return the message of all changes that wait."""
    lines = [line for text in texts for line in text.split("\n")]
    items = [line.removeprefix("- ") for line in lines if line.startswith("- ")]
    begun = any(line.startswith("New, ") for line in lines)
    first = items[0].partition(":")[0] if items else "changes"
    more = f" and {len(items) - 1} more" if len(items) > 1 else ""
    subject = f"[{node}] {'' if begun else 'over: '}{first}{more}"
    lost = (f"{dropped} earlier changes are not listed.",) if dropped else ()
    return Message("changes", subject[:150], _body(node, (*lost, *texts)))


def digest_text(day: Day, conditions: Sequence[Condition], now: float) -> str:
    """Return the digest of the last 24 hours."""
    lines = [f"The 24 hours until {at_text(now)}", ""]
    lines += [f"Received: {day.objects} objects{_listed(day.senders)}"]
    lines += [f"Series:{_listed(day.series) or ' no change'}"]
    lines += [f"Deliveries:{_listed(day.deliveries) or ' no change'}", ""]
    if not conditions:
        return "\n".join([*lines, "Nothing needs attention."])
    return "\n".join([*lines, "Needs attention:", *(x for c in conditions for x in c.lines)])


def digest_message(node: str, text: str) -> Message:
    """Return the digest as a message."""
    number = text.count("\n- ")
    what = (
        f"{number} need{'s' if number == 1 else ''} attention"
        if number
        else "nothing needs attention"
    )
    return Message("digest", f"[{node}] {what}", _body(node, (text,)))


def trial_message(node: str, now: float) -> Message:
    """Return the message of `notify test`."""
    text = f"A test of the messages of this node, {at_text(now)}. Nothing needs to be done."
    return Message("test", f"[{node}] test", _body(node, (text,)))


def _body(node: str, texts: Sequence[str]) -> str:
    ending = f"{node}: `lumbar-node status` shows what needs attention now."
    return "\n\n".join([*texts, ending]) + "\n"


def _listed(numbers: Mapping[str, int]) -> str:
    parts = ", ".join(f"{number} {name}" for name, number in sorted(numbers.items()) if number)
    return f" ({parts})" if parts else ""
