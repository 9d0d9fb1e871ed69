"""Why a delivery is not done, in one line: the same reason once, with the objects that it concerns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from node.deliver.port import Outcome


def outcome_words(outcome: Outcome) -> str:
    """Return what was answered, with its code where the words do not hold it."""
    code = "" if outcome.status in outcome.text else outcome.status
    return ": ".join(filter(None, (code, outcome.text)))


def reason_line(bad: Mapping[str, str], accepted: Sequence[str]) -> str:
    """Return one line: what was not taken and why, the same reason once, and what was."""
    files: dict[str, list[str]] = {}
    for file, words in bad.items():
        files.setdefault(words, []).append(file)
    lines = [f"{', '.join(names)}: {words}" for words, names in files.items()]
    return "; ".join([*lines, *([f"taken: {', '.join(accepted)}"] if accepted else [])])
