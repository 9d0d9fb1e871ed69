"""The path of one series through the node, step by step, from its events in the journal."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final, Literal

from node.journal.states import DeliveryEvent, SeriesEvent, SeriesState

Status = Literal["done", "now", "ended", "stopped", "ahead"]
"""ended: nothing more is to be done here or later. stopped: a person should look. ahead: not reached."""

STEPS: Final = ("receive", "track", "select", "work", "deliver")
_ABOUT: Final[Mapping[str, str]] = MappingProxyType(
    {
        "receive": "its objects are stored",
        "track": "it is complete",
        "select": "a rule accepts it",
        "work": "it is segmented and measured",
        "deliver": "the result is at every destination",
    }
)
_STEP_OF: Final[Mapping[str, str]] = MappingProxyType(
    {
        **dict.fromkeys(
            (
                SeriesEvent.INSTANCE_STORED, SeriesEvent.INSTANCE_CORRECTED, SeriesEvent.INSTANCE_SUPERSEDED,
                SeriesEvent.INSTANCE_SET_ASIDE, SeriesEvent.ALL_SUPERSEDED, SeriesEvent.ALL_QUARANTINED,
                "instance_quarantined",
            ),
            "receive",
        ),
        **dict.fromkeys(
            (SeriesEvent.GEOMETRY_COMPLETE, SeriesEvent.SETTLED_INELIGIBLE, SeriesEvent.WENT_QUIET),
            "track",
        ),
        **dict.fromkeys((SeriesEvent.RULES_ACCEPT, SeriesEvent.RULES_REJECT), "select"),
        **dict.fromkeys(
            (
                SeriesEvent.CLAIMED, SeriesEvent.RESULTS_PUBLISHED, SeriesEvent.NOT_IN_VIEW,
                SeriesEvent.REFUSED, SeriesEvent.CLAIM_LOST, SeriesEvent.CLAIM_RETURNED, SeriesEvent.CRASHED_OUT,
            ),
            "work",
        ),
        **dict.fromkeys(
            (
                "created", "withdrawal_created", "commitment_requested", SeriesEvent.ALL_CONFIRMED,
                *(event for event in DeliveryEvent if event is not DeliveryEvent.RETRY_REQUESTED),
            ),
            "deliver",
        ),
    }
)  # fmt: skip
"""Step of each event; those of a person and of the disk belong to none."""
_REACHED: Final[Mapping[str, tuple[str, Status]]] = MappingProxyType(
    {
        SeriesState.RECEIVING: ("receive", "now"),
        SeriesState.COMPLETE: ("select", "now"),
        SeriesState.INCOMPLETE: ("track", "stopped"),
        SeriesState.SELECTED: ("work", "now"),
        SeriesState.PROCESSING: ("work", "now"),
        SeriesState.ENCODED: ("deliver", "now"),
        SeriesState.DELIVERED: ("deliver", "done"),
        SeriesState.SKIPPED: ("select", "ended"),
        SeriesState.FAILED: ("work", "stopped"),
        SeriesState.QUARANTINED: ("receive", "stopped"),
        SeriesState.SUPERSEDED: ("receive", "ended"),
        SeriesState.PURGED: ("deliver", "ended"),
    }
)
_TIMED: Final[Mapping[str, tuple[str, ...]]] = MappingProxyType(
    {
        "track": ("complete",),
        "select": ("select",),
        "work": ("queue", "process"),
        "deliver": ("deliver",),
    }
)
SHAPES: Final[Mapping[Status, str]] = MappingProxyType(
    {"done": "✓", "now": "◐", "ended": "–", "stopped": "✕", "ahead": "○"}
)


@dataclass(frozen=True, slots=True)
class WayStep:
    """One step. at: its last event, ISO 8601, "" before it. seconds: how long it took; events: of the last time."""

    name: str
    about: str
    status: Status
    at: str
    seconds: float | None
    events: tuple[Mapping[str, Any], ...]

    @property
    def shape(self) -> str:
        """The sign that is shown beside the name."""
        return SHAPES[self.status]


def way(explained: Mapping[str, Any]) -> list[WayStep]:
    """Return the five steps of a series. explained: as `node.observe.explain.why` gives it."""
    history = _since_reception(explained["history"])
    reached, status = _reached(explained, history)
    place = STEPS.index(reached)
    stages = explained["timeline"]["stages_s"]
    steps = []
    for number, name in enumerate(STEPS):
        events = tuple(e for e in history if _STEP_OF.get(e["event"]) == name)
        taken = [stages[s] for s in _TIMED.get(name, ()) if s in stages]
        seconds = explained["timeline"]["receive_s"] if name == "receive" else sum(taken) if taken else None  # fmt: skip
        state: Status = "done" if number < place else status if number == place else "ahead"
        at = events[-1]["at"] if events else ""
        steps.append(WayStep(name, _ABOUT[name], state, at, seconds, events))
    return steps


def _since_reception(history: Sequence[Mapping[str, Any]]) -> Sequence[Mapping[str, Any]]:
    """Return the events of the last time that the series came or came again."""
    began = 0
    for number, event in enumerate(history):
        before = history[number - 1]["state"] if number else ""
        if event["state"] == SeriesState.RECEIVING and before not in {"", SeriesState.RECEIVING}:
            began = number
    return history[began:]


def _reached(
    explained: Mapping[str, Any], history: Sequence[Mapping[str, Any]]
) -> tuple[str, Status]:
    """Return the step that the series has come to, and how it is there."""
    reached, status = _REACHED.get(explained["state"], ("receive", "now"))
    if explained["state"] == SeriesState.SKIPPED and any(
        e["event"] == SeriesEvent.NOT_IN_VIEW for e in history
    ):
        return "work", "ended"
    if explained["state"] == SeriesState.ENCODED and any(
        d["state"] == "dead" and d["reason"] != "superseded" for d in explained["deliveries"]
    ):
        return "deliver", "stopped"
    return reached, status
