"""One try at one study: ask what the source has, compare with the journal, fetch what is missing, compare again."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Final

from dicomseg.read.rules import Rule
from node.config.pull import PullRuleConfig
from node.journal.journal import Journal
from node.journal.pulls import PullRow
from node.pull.choose import wanted_of, why_left
from node.pull.own import own_series
from node.pull.port import Declared, Keep, Source, Wanted

EVERY: Final = 50
"""Objects after which the progress is recorded."""


@dataclass(frozen=True, slots=True)
class Listed:
    """What a source has of a study. found: objects that may be eligible. left: why series are not fetched, by series."""

    series: int
    found: frozenset[str] = frozenset()
    here: frozenset[str] = frozenset()
    wanted: tuple[Wanted, ...] = ()
    left: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Tried:
    """What one try brought. pulled: objects since the study was asked for. missing: what is still wanted."""

    listed: Listed
    pulled: int
    missing: int
    reason: str = ""


@dataclass(frozen=True, slots=True)
class StudyPull:
    """Pulls studies from one source. rules: of selection. keep: makes the keeper of a study. stopped: whether the node ends."""

    source: Source
    journal: Journal
    rules: Sequence[Rule]
    keep: Callable[[str], Keep]
    stopped: Callable[[], bool]

    def run(self, pull: PullRow, rule: PullRuleConfig | None) -> Tried:
        """Fetch what is missing of a study. Raises `SourceFault`; what came until then is kept and counted."""
        listed = self._list(pull, rule)
        before = pull.here if pull.found else len(listed.here)  # of the first try
        reason = ""
        if listed.wanted:
            self._note(pull, listed, before, len(listed.here))
            reason = self._fetch(pull, listed, before)
        known = self._known(pull, listed.found)
        self._note(pull, listed, before, len(known))
        return Tried(listed, len(known) - before, len(listed.found) - len(known), reason)

    def _list(self, pull: PullRow, rule: PullRuleConfig | None) -> Listed:
        """Ask for series, and for the objects of those that may be eligible."""
        own = own_series(self.journal, pull.study)
        wanted: list[Wanted] = []
        found, here = set[str](), set[str]()
        with self.source.asking() as inquiry:
            series = inquiry.series(pull.study)
            left = {s.series: why for s in series if (why := why_left(s, self.rules, rule, own))}
            for one in series:
                if one.series in left:
                    continue
                instances = inquiry.instances(pull.study, one.series)
                uids = {i.sop_instance for i in instances}
                known = self._known(pull, uids)
                found |= uids
                here |= known
                if part := wanted_of(pull.study, one.series, instances, known):
                    wanted.append(part)
        return Listed(len(series), frozenset(found), frozenset(here), tuple(wanted), left)

    def _known(self, pull: PullRow, uids: Collection[str]) -> set[str]:
        """Return what is here; what was purged a person may want again, a rule may not."""
        return self.journal.pulls.known(uids, purged=bool(pull.rule))

    def _fetch(self, pull: PullRow, listed: Listed, before: int) -> str:
        """Retrieve every series; returns the first thing that went wrong with single objects."""
        reason = ""
        for wanted in (part for one in listed.wanted for part in one.parts()):
            if self.stopped():
                return reason or "the node stops"
            keep = self._counting(pull, listed, before)
            reason = self.source.fetch(wanted, keep) or reason
            self._count(pull, listed, before)
        return reason

    def _counting(self, pull: PullRow, listed: Listed, before: int) -> Keep:
        """Return what keeps objects, and records the progress now and then."""
        keep, kept = self.keep(pull.study), 0

        def counted(declared: Declared, fragments: Iterable[memoryview]) -> str:
            nonlocal kept
            reason = keep(declared, fragments)
            kept += not reason
            if kept % EVERY == 0:
                self._count(pull, listed, before)
            return reason

        return counted

    def _count(self, pull: PullRow, listed: Listed, before: int) -> None:
        self._note(pull, listed, before, len(self._known(pull, listed.found)))

    def _note(self, pull: PullRow, listed: Listed, before: int, known: int) -> None:
        self.journal.pulls.progress(
            pull, len(listed.found), before, max(0, known - before), len(listed.left)
        )
