"""The steps of the service: every one with what it needs, in a thread of its own, so that none delays another."""

from __future__ import annotations

import random
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from node.clock import Clock
from node.config.sections import Config
from node.deliver import start as deliver
from node.deliver.factory import build
from node.deliver.report import ReportStep, report_step
from node.event_log import EventLog
from node.followup.step import FollowUpStep
from node.journal.journal import Journal
from node.models.retraining import JobRunner
from node.notices.step import NoticeStep
from node.observe.identity_index import IndexStep
from node.observe.weigh import WeighStep
from node.pull import factory as pull
from node.pull.step import PullStep
from node.receive.held import HeldStep
from node.receive.refusals import RefusalStep
from node.receive.step import ReceiveStep
from node.retention.step import RetentionStep
from node.review.step import ReviewStep
from node.sandbox.headers import HeaderReader
from node.selection.step import SelectStep
from node.selftest.step import SelftestStep
from node.service.auditing import Auditing
from node.service.console import ConsoleStep
from node.service.loop import Loop
from node.service.watch import Rounds
from node.step import Step
from node.store.layout import StateDirectory
from node.tls.credentials import Credentials
from node.track.expected_count import Inquiry
from node.track.header_cache import remembering
from node.track.step import TrackStep
from node.work.memory_guard import MemoryGuard
from node.work.step import WorkStep

WORK: Final = "work"
DELIVER: Final = "deliver"
PULL: Final = "pull"
REVIEW: Final = "review"
FOLLOWUP: Final = "followup"
LONGEST_LISTENING_S: Final = 60.0
"""The listener only hands connections on."""
LONGEST_STEP_S: Final = 300.0
"""Reading the headers of a large series from a busy disk takes seconds; every wait for others is limited."""
LONGEST_DELIVERY_S: Final = 3600.0
"""A round of deliveries may wait for a slow PACS at every object of every result that is due."""


@dataclass(frozen=True, slots=True)
class Steps:
    """Builds the threads of a running node from its configuration."""

    config: Config
    journal: Journal
    log: EventLog
    clock: Clock
    credentials: Credentials
    headers: HeaderReader
    config_path: Path | None
    console: ConsoleStep

    def loops(
        self,
        workers: WorkStep,
        jobs: JobRunner,
        audit: Auditing,
        receiver: ReceiveStep,
        stopping: threading.Event,
    ) -> list[Loop]:
        """Build one thread per step, so that none delays another; each delivery has its own."""
        guard = MemoryGuard(workers.processes, self.config.work.memory_limit_mb)
        deliveries = deliver.steps(
            self.config, self.journal, self.clock, random.random, self.log.event, self.credentials
        )
        steps: dict[str, tuple[Step, ...]] = {
            "track": self._tracking(),
            WORK: (workers,),
            "memory": (guard,),
            **{f"{DELIVER} {d.config.name}": (d,) for d in deliveries},
            "commitment": (HeldStep(self.journal), self._reports()),
            "jobs": (jobs,),
            **audit.steps(),
            "tls": (self.credentials,),
            "retention": (self._retention(),),
            REVIEW: (self._review(),),
            "refusals": (RefusalStep(self.journal, receiver.refusals),),
            "identities": (self._identities(),),
            "weigh": (WeighStep(self.journal, self.clock),),
            FOLLOWUP: (FollowUpStep.of(self.config, self.journal, self.clock, self.log.event),),
        }
        if (
            notices := NoticeStep.of(self.config, self.journal, self.clock, self.log.event)
        ) is not None:
            steps["notices"] = (notices,)
        selftest = SelftestStep.of(
            self.config, self.config_path, self.journal, self.clock, self.log.event
        )
        if selftest is not None:
            steps["selftest"] = (selftest,)
        if self.config.web.port:
            steps["console"] = (self.console,)
        if self.config.pull.source:
            steps[PULL] = (self._pulling(receiver, stopping),)
        return [Loop(n, s, stopping, self.log.event, self.journal) for n, s in steps.items()]

    def _retention(self) -> RetentionStep:
        limits, state = self.config.retention, self.config.node.state
        return RetentionStep.of(self.journal, limits, state, self.clock, self.log.event)

    def _identities(self) -> IndexStep:
        return IndexStep(self.journal, StateDirectory(self.config.node.state).identity_key)

    def _review(self) -> ReviewStep:
        return ReviewStep.of(self.journal, self.config.node.state, self.clock, self.log.event)

    def _pulling(self, receiver: ReceiveStep, stopping: threading.Event) -> PullStep:
        return pull.step_of(
            self.config, self.journal, receiver.intake, self.clock, self.log.event,
            self.credentials, stopping.is_set,
        )  # fmt: skip

    def _reports(self) -> ReportStep:
        now = self.clock.wall
        return report_step(
            self.config, self.journal, now, random.random, self.log.event, self.credentials
        )

    def _tracking(self) -> tuple[TrackStep, SelectStep]:
        config, rules = self.config.track, self.config.rules
        read = remembering(read=self.headers)
        tracker = TrackStep(self.journal, config, rules, self.clock, self.log.event, read)
        if config.expected_count == "query":
            sender = next(d for d in self.config.destinations if d.name == config.query)
            asked = build(sender, self.config.node.ae_title, self.credentials)
            tracker.held = Inquiry(asked, self.clock.monotonic).held
        times = (config.settle_seconds, config.quiet_seconds)
        return tracker, SelectStep(self.journal, rules, *times, self.clock, self.log.event, read)


def rounds_of(receiver: ReceiveStep, loops: Sequence[Loop]) -> list[Rounds]:
    """Describe the threads whose hang is a fault."""

    def of(loop: Loop) -> Rounds:
        waits = loop.name.startswith((DELIVER, PULL, REVIEW, FOLLOWUP))
        longest_s = LONGEST_DELIVERY_S if waits else LONGEST_STEP_S
        return Rounds(loop.name, longest_s, lambda: loop.round_at)

    listening = Rounds("receive", LONGEST_LISTENING_S, lambda: receiver.round_at)
    return [listening, *map(of, loops)]
