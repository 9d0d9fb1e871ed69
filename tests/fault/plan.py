"""What the launcher (`launch/sitecustomize.py`) is to do in the processes of a node."""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from tests.fault.points import Point
from tests.support.paths import ROOT

LAUNCH = Path(__file__).parent / "launch"


@dataclass(frozen=True, slots=True)
class Kill:
    """SIGKILL at a point. nth: at which call within a process. victim: the process itself, or the node with it.

    times: how often, over all processes.
    """

    point: Point
    nth: int = 1
    victim: Literal["self", "node"] = "self"
    times: int = 1


@dataclass(slots=True)
class Plan:
    """One plan for all lives of a node: kills and broken variants, and switches that work while it runs."""

    folder: Path
    kills: Sequence[Kill] = ()
    variants: Sequence[tuple[str, str]] = ()
    """Name in `tests.fault.broken` and the function that it replaces."""
    rounds: int = field(default=0)
    remembered: Path = field(init=False)
    """What `broken.remembered` keeps; nodes may share it."""

    def __post_init__(self) -> None:
        self.remembered = self.folder / "remembered"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.turn_clock(0.0)

    @property
    def _held(self) -> Path:
        return self.folder / "held"

    @property
    def _clock(self) -> Path:
        return self.folder / "clock"

    def hold_workers(self) -> None:
        """Keep workers from loading a model until they are let go: restarts then cost a second, not ten."""
        self._held.touch()

    def let_workers_go(self) -> None:
        """Let them."""
        self._held.unlink(missing_ok=True)

    def turn_clock(self, seconds: float) -> None:
        """Let the node's wall clock differ from the true time by so much, at once."""
        content = struct.pack("<d", seconds)
        with self._clock.open("r+b" if self._clock.exists() else "wb") as file:
            file.write(content)

    def write(self) -> dict[str, str]:
        """Write the plan for the next life; returns the environment that makes a process follow it."""
        self.rounds += 1
        marks = self.folder / f"marks{self.rounds}"
        marks.mkdir()
        self.remembered.mkdir(parents=True, exist_ok=True)
        content: dict[str, Any] = {
            "marks": str(marks),
            "clock": str(self._clock),
            "held": str(self._held),
            "kills": [
                {**asdict(k.point), "nth": k.nth, "victim": k.victim, "times": k.times, "id": k.point.key}
                for k in self.kills
            ],
            "variants": [{"name": name, "at": at} for name, at in self.variants],
        }  # fmt: skip
        path = self.folder / f"plan{self.rounds}.json"
        path.write_text(json.dumps(content, indent=1), encoding="utf-8")
        python_path = os.pathsep.join([str(LAUNCH), str(ROOT)])
        return {
            **os.environ,
            "FAULT_PLAN": str(path),
            "FAULT_REMEMBERED": str(self.remembered),
            "PYTHONPATH": python_path,
            "TCP_NODELAY": "1",
        }

    def fired(self, point: Point) -> int:
        """How often the kill at a point happened in this life."""
        return len(list((self.folder / f"marks{self.rounds}").glob(f"{point.key}.*")))
