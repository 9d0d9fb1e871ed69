"""Pull: rules ask for studies, and studies that are asked for are fetched, one after the other, with patience."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Final

from dicomseg.read.rules import Rule
from node.backoff import days_text, wait_s
from node.clock import Clock, local_time
from node.config.pull import PullConfig, PullRuleConfig
from node.events import Log, PullEnded, PullRuleRan, PullRuleWaits, PullStarted, PullWaits
from node.journal.journal import Journal
from node.journal.pulls import PullRow, PullState, RuleRow
from node.pull.choose import dates_asked, day_due, may_hold_mr
from node.pull.one_study import StudyPull, Tried
from node.pull.port import Declared, Keep, Source, SourceFault
from node.receive.intake import Fetched, Intake

FIRST_WAIT_S: Final = 30.0
LONGEST_WAIT_S: Final = 1800.0
"""Waits of a pull that did not bring everything: a PACS that restarts is back in minutes."""
RULES_S: Final = 5.0
"""Seconds between two looks at the rules."""


@dataclass(slots=True)
class PullStep:
    """Acts on one pull at a time. senders: AE title under which objects of a source are kept, by its name.

    spread: 0…1, of the waits. rules: of selection. stopped: whether the node ends.
    """

    config: PullConfig
    sources: Mapping[str, Source]
    senders: Mapping[str, str]
    journal: Journal
    rules: Sequence[Rule]
    intake: Intake
    clock: Clock
    spread: Callable[[], float]
    log: Log
    stopped: Callable[[], bool]
    _look_at: float = field(default=0.0)

    def run_once(self) -> int:
        """Ask what rules ask for, and try the pull that is due; returns how many things moved."""
        moved = self._run_rules()
        pull = self.journal.pulls.due(self.clock.wall())
        if pull is not None and not self.stopped():
            self._try(pull)
            moved += 1
        return moved

    # ---- studies ----

    def _try(self, pull: PullRow) -> None:
        source = self.sources.get(pull.source)
        if source is None:
            self._end(pull, PullState.FAILED, f"no [[pull.source]] {pull.source} is configured any more")  # fmt: skip
            return
        if reason := self.intake.room():
            self._wait(pull, pull.missing, reason)
            return
        if not pull.tries:
            self.log(PullStarted(pull.source, pull.study, pull.rule))
        rule = next((r for r in self.config.rule if r.name == pull.rule), None)
        one = StudyPull(source, self.journal, self.rules, self._keeper(pull.source), self.stopped)
        try:
            tried = one.run(pull, rule)
        except SourceFault as error:
            if not self.stopped():
                self._wait(self._read(pull), self._read(pull).missing, str(error))
            return
        if not self.stopped():
            self._judge(self._read(pull), tried)

    def _read(self, pull: PullRow) -> PullRow:
        """Return the pull as it is now, unless it was asked for again."""
        now = self.journal.pulls.find(pull.source, pull.study)
        return pull if now is None or now.asked_at != pull.asked_at else now

    def _judge(self, pull: PullRow, tried: Tried) -> None:
        """End the pull, or let it wait for what is missing."""
        listed = tried.listed
        if tried.missing:
            reason = tried.reason or f"{pull.source} listed them and did not bring them"
            self._wait(pull, tried.missing, reason)
        elif tried.pulled > 0:
            self._end(pull, PullState.DONE, "")
        elif not listed.series:
            self._end(pull, PullState.NOTHING, "the source does not have this study")
        elif listed.found:
            number = len(listed.found)
            self._end(pull, PullState.NOTHING, f"all {number} objects that may be eligible are here")  # fmt: skip
        else:
            reasons = "; ".join(sorted(set(listed.left.values()))) or "they have no objects"
            text = f"none of its {listed.series} series may be eligible: {reasons}"
            self._end(pull, PullState.NOTHING, text[:_LONGEST_REASON])

    def _wait(self, pull: PullRow, missing: int, reason: str) -> None:
        wait = wait_s(pull.tries + 1, FIRST_WAIT_S, LONGEST_WAIT_S, self.spread())
        if pull.waited_s + wait > self.config.patience_s:
            waited = days_text(pull.waited_s)
            self._end(pull, PullState.FAILED, f"{reason} (tried for {waited})")
            return
        self.journal.pulls.defer(pull, reason, wait)
        self.log(PullWaits(pull.source, pull.study, missing, reason, pull.tries + 1, wait))

    def _end(self, pull: PullRow, state: PullState, reason: str) -> None:
        self.journal.pulls.end(pull, state, reason)
        self.log(
            PullEnded(
                pull.source, pull.study, str(state), pull.found, pull.pulled, pull.series_left, reason
            )
        )  # fmt: skip

    def _keeper(self, source: str) -> Callable[[str], Keep]:
        intake, sender = self.intake, self.senders.get(source, source)

        def of_study(study: str) -> Keep:
            def keep(declared: Declared, fragments: Iterable[memoryview]) -> str:
                fetched = Fetched(
                    study, declared.sop_class, declared.sop_instance, declared.transfer_syntax, sender
                )  # fmt: skip
                return intake.take(fetched, fragments)

            return keep

        return of_study

    # ---- rules ----

    def _run_rules(self) -> int:
        now = self.clock.monotonic()
        if not self.config.rule or now < self._look_at:
            return 0
        self._look_at = now + RULES_S
        known = self.journal.pulls.rules()
        return sum(self._run_rule(rule, known.get(rule.name)) for rule in self.config.rule)

    def _run_rule(self, rule: PullRuleConfig, row: RuleRow | None) -> int:
        """Run a rule whose time has come and was not served; returns 1 when it asked."""
        now = self.clock.wall()
        local = local_time(now)
        due = day_due(rule, local.date(), local.hour, local.minute)
        if row is None:  # a new rule: its first time is the next
            self.journal.pulls.rule_ran(rule.name, due.isoformat(), 0)
            return 0
        ran = date.fromisoformat(row.day)
        if ran >= due or row.set_at <= now < row.try_at:
            return 0
        first, last = dates_asked(rule, due, ran)
        try:
            asked = self._ask(rule, first, last)
        except SourceFault as error:
            wait = wait_s(row.tries + 1, FIRST_WAIT_S, LONGEST_WAIT_S, self.spread())
            self.journal.pulls.rule_deferred(rule.name, str(error), wait)
            self.log(PullRuleWaits(rule.name, rule.source, str(error), row.tries + 1, wait))
            return 0
        self.journal.pulls.rule_ran(rule.name, due.isoformat(), asked)
        self.log(PullRuleRan(rule.name, rule.source, first.isoformat(), last.isoformat(), asked))
        return 1

    def _ask(self, rule: PullRuleConfig, first: date, last: date) -> int:
        """Ask for every study of these dates that may hold MR images; returns how many."""
        with self.sources[rule.source].asking() as inquiry:
            found = [s for s in inquiry.studies(first, last) if may_hold_mr(s)]
        for study in found:
            row = self.journal.pulls.find(rule.source, study.study)
            if row is None or row.state is not PullState.WAITING:
                self.journal.pulls.ask(rule.source, study.study, rule=rule.name)
        return len(found)


_LONGEST_REASON: Final = 500
