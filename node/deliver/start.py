"""The delivery steps of a configuration, and the end of deliveries to destinations that it has no more."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from node.clock import Clock
from node.config.sections import Config
from node.deliver.factory import build
from node.deliver.recorder import GIVE_UP
from node.deliver.step import DeliverStep
from node.events import DeliveryConfirmed, DeliveryFailed, Log, noop_log
from node.journal.journal import Journal
from node.journal.states import DeliveryEvent, DeliveryState
from node.store.layout import StateDirectory
from node.tls.credentials import Credentials


def steps(
    config: Config,
    journal: Journal,
    clock: Clock,
    spread: Callable[[], float],
    log: Log = noop_log,
    credentials: Credentials | None = None,
) -> tuple[DeliverStep, ...]:
    """Return one `DeliverStep` per configured destination; what goes to no configured one is given up first."""
    close_unconfigured(journal, [d.name for d in config.destinations], log)
    state = StateDirectory(config.node.state)
    own = config.node.ae_title
    return tuple(
        DeliverStep(journal, d, build(d, own, credentials), clock, spread, state, log=log)
        for d in config.destinations
    )


def close_unconfigured(journal: Journal, names: Sequence[str], log: Log = noop_log) -> int:
    """Give up deliveries to destinations that are no longer configured; returns how many.

    What such a destination took already is confirmed, unproven.
    """
    lost = [d for d in journal.deliveries.in_states(*GIVE_UP) if d.destination not in names]
    for row in lost:
        reason = f'destination "{row.destination}" is no longer configured'
        taken = row.state is DeliveryState.SENT
        event = DeliveryEvent.NO_PROOF_OFFERED if taken else GIVE_UP[row.state]
        journal.deliveries.advance(row.id, event, detail={"reason": reason})
        log(
            DeliveryConfirmed(row.destination, row.result_id, row.kind, "unproven", reason)
            if taken
            else DeliveryFailed(row.destination, row.result_id, row.kind, reason)
        )
    return len(lost)
