"""The audit trail of the running service: a step that writes it, and another that sends it to a collector."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from node.audit.forward import ForwardStep, forward_step
from node.audit.step import AuditStep
from node.clock import Clock
from node.config.sections import Config
from node.event_log import EventLog
from node.events import StepFailed
from node.faults import describe_error, error_trace
from node.journal.journal import Journal
from node.step import Step
from node.tls.credentials import Credentials


@dataclass(slots=True)
class Auditing:
    """Both steps, each for a thread of its own: a collector that hangs delays no entry."""

    trail: AuditStep
    forward: ForwardStep | None
    log: EventLog

    @classmethod
    def of(
        cls,
        config: Config,
        journal: Journal,
        clock: Clock,
        log: EventLog,
        credentials: Credentials,
    ) -> Auditing:
        """Build it and listen to the log. Raises `ConfigError` for a key that cannot be read."""
        trail = AuditStep.of(config, journal, clock)
        log.listen(trail.hear)
        tls = partial(credentials.context, "syslog")
        return cls(trail, forward_step(config, trail.trail, clock, tls), log)

    def steps(self) -> dict[str, tuple[Step, ...]]:
        """Return the steps by the name of their thread."""
        return {"audit": (self.trail,), **({"syslog": (self.forward,)} if self.forward else {})}

    def close(self) -> None:
        """Write and send the last entries; a disk or a collector that takes none stops nothing."""
        for name, step in (("audit", self.trail), ("syslog", self.forward)):
            try:
                if step is not None:
                    step.close()
            except Exception as error:  # noqa: BLE001 - the node stops in order all the same
                self.log.event(StepFailed(name, describe_error(error), error_trace(error)))
