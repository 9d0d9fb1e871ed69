"""What was reported and what still has to be, kept in one file so that a restart neither forgets nor repeats."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from node.durable import replace_durably

MAX_CHANGES: Final = 100
"""Changes that wait for one channel; of more only the number is kept."""


@dataclass(frozen=True, slots=True)
class Post:
    """What one channel has still to send.

    changes: texts of changes, oldest first. dropped: changes beyond `MAX_CHANGES`. digest: text, "" if
    none waits. tries: failures in a row; next_at: not before, in seconds since 1970.
    """

    changes: tuple[str, ...] = ()
    dropped: int = 0
    digest: str = ""
    tries: int = 0
    next_at: float = 0.0

    def with_changes(self, texts: tuple[str, ...]) -> Post:
        """Add changes; the oldest make room."""
        every = (*self.changes, *texts)
        lost = max(0, len(every) - MAX_CHANGES)
        return replace(self, changes=every[lost:], dropped=self.dropped + lost)


@dataclass(frozen=True, slots=True)
class Memory:
    """All that is remembered. Times in seconds since 1970.

    pending: conditions that are not old enough to be reported, with the time they were first seen.
    reported: conditions that were reported, with their texts. absent: reported ones that were not there
    at the last looks, since when. digest_on: day of the last digest, ISO 8601. posts: by channel.
    """

    pending: Mapping[str, float] = field(default_factory=dict)
    reported: Mapping[str, str] = field(default_factory=dict)
    absent: Mapping[str, float] = field(default_factory=dict)
    digest_on: str = ""
    posts: Mapping[str, Post] = field(default_factory=dict)


def load(path: Path) -> Memory:
    """Read the file; an absent or damaged one is an empty memory: conditions are then reported again."""
    try:
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        posts = {
            name: Post(**{**post, "changes": tuple(post["changes"])})
            for name, post in content.pop("posts").items()
        }
        return Memory(**content, posts=posts)
    except (OSError, ValueError, TypeError, KeyError, AttributeError):
        return Memory()


def save(path: Path, memory: Memory) -> None:
    """Write the file durably. Raises `OSError`."""
    replace_durably(path, json.dumps(asdict(memory), ensure_ascii=False).encode())
