"""What is worth a message now: kinds of faults, each with where, how many and what to do (pure).

One condition per kind and destination, step or sender, however many objects it concerns.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from node.observe.attention import Matter
from node.observe.health import Health
from node.observe.text import state_text

LONGEST_REASON: Final = 300
"""Characters of a reason in a message."""
_UID: Final = re.compile(r"2\.25\.\d+|\d+(?:\.\d+){5,}")
_QUOTED: Final = re.compile(r"'[^']*'|\"[^\"]*\"|[0-9a-f]{32,}")
_BY_SUBJECT: Final = frozenset(
    {"delivery", "withdrawal", "fault", "protocol", "tls", "certificate", "selftest", "pull"}
)
"""Kinds with one condition for each destination, step, sender or file; others are one condition each."""


@dataclass(frozen=True, slots=True)
class Condition:
    """Something that is wrong now. key: names it as long as it lasts. what: where and what. remedy: what to do."""

    key: str
    what: str
    remedy: str
    count: int = 1

    @property
    def lines(self) -> tuple[str, ...]:
        """The condition as lines of a message."""
        return (f"- {self.what}", *((f"  What to do: {self.remedy}",) if self.remedy else ()))


@dataclass(frozen=True, slots=True)
class Recent:
    """Numbers of the last day. failed: series by reason; quarantined: objects."""

    failed: Mapping[str, int]
    quarantined: int


def current_conditions(
    matters: Iterable[Matter], health: Health, recent: Recent
) -> dict[str, Condition]:
    """Return what is wrong now, by key."""
    found = [*_of_matters(matters), *_of_health(health.problems), *_of_day(recent)]
    return {condition.key: condition for condition in found}


def _of_matters(matters: Iterable[Matter]) -> list[Condition]:
    groups: dict[tuple[str, ...], list[Matter]] = {}
    for matter in matters:
        if matter.kind in _BY_SUBJECT:
            state = "" if matter.kind == "protocol" else state_text(matter.state)
            groups.setdefault((matter.kind, matter.subject, state), []).append(matter)
    return [_of_group(key, group) for key, group in groups.items()]


def _of_group(key: tuple[str, ...], group: Sequence[Matter]) -> Condition:
    kind, subject, _ = key
    first, count = group[0], sum(m.count for m in group)
    more = len(group) - 1
    reasons = f" (and {more} more reason{'s' if more > 1 else ''})" if more else ""
    what = (
        f"{kind} {subject} {state_text(first.state)}, {count} ×: {outgoing(first.reason)}{reasons}"
    )
    return Condition("|".join(key), what, outgoing(first.remedy), count)


def _of_health(problems: Iterable[str]) -> list[Condition]:
    parted = (problem.partition("; ") for problem in problems)
    # Numbers change from look to look: what is left names the condition.
    return [
        Condition(f"health|{re.sub(r'[0-9]+', '', what)}", f"node: {outgoing(what)}", remedy)
        for what, _, remedy in parted
    ]


def _of_day(recent: Recent) -> list[Condition]:
    found = []
    if recent.failed:
        number, reason = max((n, r) for r, n in recent.failed.items())
        total = sum(recent.failed.values())
        what = f"series failed within a day, {total} ×, {number} of them: {outgoing(reason)}"
        remedy = "`lumbar-node list --state failed --since 1d`, then `lumbar-node why UID`"
        found.append(Condition("series|failed", what, remedy, total))
    if recent.quarantined:
        what = f"objects quarantined within a day, {recent.quarantined} ×: they were kept and are not used"
        remedy = "`lumbar-node list --state quarantined --since 1d`; correct and resend the series"
        found.append(Condition("objects|quarantined", what, remedy, recent.quarantined))
    return found


def outgoing(text: str) -> str:
    """Return a text as it may leave the hospital's machine: no UID, nothing that a header quotes, one line."""
    text = _QUOTED.sub("…", _UID.sub("UID", " ".join(text.split())))
    return text if len(text) <= LONGEST_REASON else f"{text[: LONGEST_REASON - 1]}…"
