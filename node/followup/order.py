"""`Order`: a follow-up that is wanted, as the process that makes it is asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from dicomseg.encode.uids import Identity
from node.journal.results import CurrentResult


@dataclass(frozen=True, slots=True)
class Order:
    """A follow-up that is wanted. results: study, series, id, folder and one image of each, oldest first.

    root: folder of results. predecessor: id of the follow-up that it replaces, "" without one. language: None without
    a page. created: ISO 8601 with zone.
    """

    root: str
    result_id: str
    predecessor: str
    results: Sequence[Mapping[str, str]]
    identity: Mapping[str, str]
    language: str | None
    created: str

    @classmethod
    def of(
        cls, root: Path, result_id: str, predecessor: str, results: Sequence[CurrentResult],
        identity: Identity, language: str | None, created: str,
    ) -> Self:  # fmt: skip
        """Describe what is wanted in plain values."""
        named = [
            {
                "study": c.key.study, "series": c.key.series, "result": c.result.result_id,
                "folder": str(c.result.folder), "file": str(c.file),
            }
            for c in results
        ]  # fmt: skip
        return cls(
            str(root), result_id, predecessor, named, asdict(identity), language, created
        )  # fmt: skip
