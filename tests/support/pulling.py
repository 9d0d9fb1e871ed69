"""A pull step over a receiver on loopback, with the sources that a test names."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from node.clock import Clock
from node.config.pull import PullConfig, PullRuleConfig, SourceConfig
from node.config.sections import Config, NodeConfig
from node.event_log import EventLog
from node.journal.pulls import PullRow
from node.pull.factory import step_of
from node.pull.step import PullStep
from tests.support.listening import Listening


@dataclass
class Puller:
    """The step, and what it wrote."""

    node: Listening
    step: PullStep
    stopping: threading.Event = field(default_factory=threading.Event)

    def pull(self, study: str, source: str = "archive", *, by: str = "anna") -> PullRow:
        """Ask for a study, try once, and return what became of it."""
        self.node.journal.pulls.ask(source, study, by=by)
        self.step.run_once()
        row = self.node.journal.pulls.find(source, study)
        assert row is not None
        return row

    @property
    def received(self) -> list[str]:
        return [r.sop_instance_uid for r in self.node.journal.instances.iterate()]


def puller(
    node: Listening,
    *sources: SourceConfig,
    rules: tuple[PullRuleConfig, ...] = (),
    clock: Any = None,
    changes: Mapping[str, Any] | None = None,
    stopped: Callable[[], bool] | None = None,
) -> Puller:
    """Make a step; changes: further sections of the configuration."""
    config = Config(
        node=NodeConfig(ae_title="NODE"),
        pull=PullConfig(source=sources, rule=rules),
        **(changes or {}),
    )
    stopping = threading.Event()
    step = step_of(
        config, node.journal, node.receiver.intake, clock or Clock(),
        EventLog("t", node.log).event, None, stopped or stopping.is_set,
    )  # fmt: skip
    return Puller(node, step, stopping)
