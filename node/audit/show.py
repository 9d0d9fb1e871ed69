"""Entries of the audit trail for people and for programs."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from node.audit.entry import time_text
from node.audit.trail import Trail


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which entries are wanted; empty is any. since: seconds since 1970. study: a UID. event: its name."""

    since: float | None = None
    study: str = ""
    event: str = ""

    def has(self, content: Mapping[str, Any]) -> bool:
        """Whether an entry is wanted."""
        what = content.get("what")
        study = what.get("study", "") if isinstance(what, Mapping) else ""
        # The times of a trail are all written alike, so they are ordered as texts.
        is_since = self.since is None or str(content.get("time", "")) >= time_text(self.since)
        is_event = not self.event or content.get("event") == self.event
        return is_since and is_event and (not self.study or study == self.study)


def entries(trail: Trail, wanted: Wanted) -> Iterator[Mapping[str, Any]]:
    """Yield the wanted entries, oldest first; what cannot be read is left out (`verify` names it)."""
    for found in trail.lines():
        if found.line is not None and wanted.has(found.line.content):
            yield found.line.content


def entry_line(content: Mapping[str, Any]) -> str:
    """Return one entry as a line; every sign that could act on a terminal is escaped."""
    outcome = "" if content.get("outcome") == "success" else f"  {content.get('outcome')}"
    who = " → ".join(_participant(p) for p in content.get("who", ()) if isinstance(p, Mapping))
    what = content.get("what", {})
    content_text = "  ".join(
        f"{key} {_text(value)}" for key, value in what.items() if value not in ({}, "", None)
    )
    parts = (
        f"{content.get('n')}",
        _text(content.get("time", "")),
        f"{_text(content.get('event', ''))}{outcome}",
        who,
        content_text,
    )
    return "  ".join(part for part in parts if part)


def _participant(participant: Mapping[str, Any]) -> str:
    name = participant.get("name") or participant.get("ae_title") or participant.get("user")
    address = participant.get("address")
    process = participant.get("process")
    where = f"@{_text(address)}" if address else f"[{process}]" if process else ""
    return f"{_text(name) if name else ''}{where}"


def _text(value: object) -> str:
    if isinstance(value, Mapping):
        return " ".join(f"{_text(k)}={_text(v)}" for k, v in value.items())
    return json.dumps(value)[1:-1] if isinstance(value, str) else json.dumps(value)
