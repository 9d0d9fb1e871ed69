"""Calls of a client of Dask to its scheduler, each with an end, and what became of a task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from distributed import Client, Security
from distributed.scheduler import KilledWorker

CONNECT_S: Final = 4.0
ANSWER_S: Final = 5.0
"""Longest waits for the scheduler: for a connection, for an answer."""


def connect(address: str, security: Security, name: str) -> Client | None:
    """Return a client of the scheduler; None where it is down, another program, or has no common authority."""
    try:
        return Client(
            address, timeout=CONNECT_S, set_as_default=False, security=security, name=name
        )
    except Exception:  # noqa: BLE001 - whatever the reason, it does not answer
        return None


def listed(client: Client) -> Mapping[str, Mapping[str, Any]]:
    """Return the scheduler's workers by address. Raises many errors where it does not answer."""
    found: Mapping[str, Any] = client.sync(
        _scheduler(client).identity, callback_timeout=ANSWER_S, n_workers=-1
    )
    workers: Mapping[str, Mapping[str, Any]] = found["workers"]
    return workers


def processing(client: Client) -> Mapping[str, Any]:
    """Return the names of the tasks that lie on each worker, by address. Raises as `listed`."""
    found: Mapping[str, Any] = client.sync(
        _scheduler(client).processing, callback_timeout=ANSWER_S, workers=None
    )
    return found


def events_of(client: Client, topic: str) -> list[Any]:
    """Return what workers have sent under a topic, oldest first. Raises as `listed`."""
    found = client.sync(_scheduler(client).events, callback_timeout=ANSWER_S, topic=topic)
    return [message for _, message in found]


def why_lost(error: BaseException | None) -> str:
    """Return why a task has no result, with its worker where that is known."""
    if isinstance(error, KilledWorker):
        return f"worker {getattr(error.last_worker, 'name', '') or 'of the cluster'} ended"
    return (
        f"the result did not come from the cluster{f' ({type(error).__name__})' if error else ''}"
    )


def _scheduler(client: Client) -> Any:
    return client.scheduler
