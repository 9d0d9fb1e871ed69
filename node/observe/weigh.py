"""The step that weighs new results: what speaks against each is computed once, and kept in the journal.

A list of results by doubt then is a walk along an index. A study that comes late changes what later ones are compared
with, so all results of its patient are weighed again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from dicomseg.compare.change import Change
from node.clock import Clock
from node.journal.journal import Journal
from node.journal.results import CurrentResult
from node.observe.doubt import doubts_of, total
from node.observe.followup import MAX_SEARCHED
from node.observe.identity import remembering
from node.observe.patients import Read, follow_results, results_by_patient
from node.store.results import read_result

LOOK_S: Final = 1.0
AT_ONCE: Final = 200
"""Results of one round; the next one begins with the patients known."""
Changes = Mapping[str, Change]


@dataclass(slots=True)
class WeighStep:
    """Weighs what counts and was not weighed, oldest first."""

    journal: Journal
    clock: Clock
    read: Read = field(default_factory=lambda: remembering(2 * MAX_SEARCHED))
    _due: float = 0.0

    def run_once(self) -> int:
        """Weigh some; returns how many were new."""
        now = self.clock.monotonic()
        if now < self._due:
            return 0
        wanted = self.journal.reviews.not_weighed(AT_ONCE)
        if len(wanted) < AT_ONCE:
            self._due = now + LOOK_S
        if not wanted:
            return 0
        compared = self._compared(wanted.keys())
        for result_id, folder in wanted.items():
            if result_id not in compared:
                self._weigh(result_id, folder, {})
        for result_id, (folder, changes) in compared.items():
            self._weigh(result_id, folder, changes)
        return len(wanted)

    def _weigh(self, result_id: str, folder: Path, changes: Changes) -> None:
        doubts = doubts_of(read_result(folder), changes)
        self.journal.reviews.weigh(result_id, total(doubts), [d.to_json() for d in doubts])

    def _compared(self, wanted: Set[str]) -> dict[str, tuple[Path, Changes]]:
        """Return folder and changes of every result of the patients of some, by result."""
        of_patient = results_by_patient(self.journal, self.read)
        found: dict[str, tuple[Path, Changes]] = {}
        for results in of_patient.values():
            ids = {c.result.result_id for c in results}
            if len(results) > 1 and ids & wanted:
                changes = self._changes(results)
                found |= {
                    c.result.result_id: (c.result.folder, changes.get(c.result.result_id, {}))
                    for c in results
                }
        return found

    def _changes(self, results: Sequence[CurrentResult]) -> dict[str, Changes]:
        """Return what changed to each result of a patient from the study before."""
        followup = follow_results(results, self.read)
        # The last step of three studies and more is from the first to the last.
        steps = followup.steps[: max(0, len(followup.visits) - 1)]
        return {step.after.result: step.changes for step in steps}
