"""A small segmentation, a model that makes it, and an engine of the port that loses, delays and doubles answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, cast

import numpy as np

from dicomseg.segmentation import EngineInfo, Labels, Level, NotInView, Scores, Segmentation
from dicomseg.structures import CHANNELS
from dicomseg.volume import AXIAL, Volume, build_affine
from model.bundle.load import LoadedModel
from node.cluster.port import Abandoned, Answer, Away, Capacity, Done, Lost, Refused, Task

INFO = EngineInfo("test", "1", "d" * 64, "openvino-cpu", "float32")
FRAME = "1.2.3.4"
Fate = Literal["done", "lost", "away", "silent", "late", "doubled", "refused", "other"]


def image(number: int = 0) -> Volume:
    """A volume in an oblique frame of reference that no other number has."""
    grey = np.random.default_rng(number).integers(0, 900, (4, 5, 6), np.uint16)
    return Volume(grey, build_affine(AXIAL, (2.0, 1.0, 1.5), (1.0, -2.0, 3.0)), FRAME)


def segmented(volume: Volume, info: EngineInfo = INFO) -> Segmentation:
    """A segmentation that follows from the grey values, so that answers cannot be mixed up."""
    values = (volume.array % 9).astype(np.uint8)
    labels = Labels(volume.with_array(values), volume.array > 100)
    scores = np.linspace(-3, 3, CHANNELS * 8, dtype=np.float32).reshape(CHANNELS, 2, 2, 2)
    scores[1] *= float(volume.array.mean())
    return Segmentation(
        Level((1.0, 2.0, 3.0), (0.0, 0.0, 1.0), 0.9), labels,
        volume.with_array((values % 7).astype(np.uint8)), Scores(scores, np.eye(4)), info,
        confidence={"ivd": 0.9}, outside_view=frozenset({"pm"}), timings_s={"network": 1.5},
    )  # fmt: skip


def assert_same(one: Segmentation | NotInView, two: Segmentation | NotInView) -> None:
    """Compare every bit that a result is made of."""
    assert isinstance(one, Segmentation)
    assert isinstance(two, Segmentation)
    for a, b in (
        (one.labels.volume, two.labels.volume),
        (one.sides, two.sides),
    ):
        assert (a.array.dtype, a.frame_of_reference_uid) == (
            b.array.dtype,
            b.frame_of_reference_uid,
        )
        np.testing.assert_array_equal(a.array, b.array)
        np.testing.assert_array_equal(a.affine, b.affine)
    np.testing.assert_array_equal(one.labels.analysed_mask, two.labels.analysed_mask)
    assert one.labels.analysed_mask.dtype == two.labels.analysed_mask.dtype
    np.testing.assert_array_equal(one.scores.logits, two.scores.logits)
    np.testing.assert_array_equal(one.scores.affine, two.scores.affine)
    rest = ("level", "engine", "findings", "confidence", "outside_view", "timings_s")
    assert [getattr(one, name) for name in rest] == [getattr(two, name) for name in rest]


def model(info: EngineInfo = INFO) -> LoadedModel:
    """A model with a name and nothing that computes."""
    return LoadedModel(info, cast("Any", None), cast("Any", None), {}, {})


class Seconds:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.at = 0.0

    def __call__(self) -> float:
        return self.at


@dataclass
class FakeMachines:
    """What a cluster can do to an answer. fates: of the coming tasks, "done" behind them. now: moved by polling.

    begun: whether what is abandoned had begun.
    """

    fates: list[Fate] = field(default_factory=list)
    slots: int = 2
    now: Seconds = field(default_factory=Seconds)
    begun: bool = True
    error: Exception = field(default_factory=lambda: ValueError("refused"))
    tasks: list[Task] = field(default_factory=list)
    abandoned: list[tuple[str, int]] = field(default_factory=list)
    _ready: list[Answer] = field(default_factory=list)
    _held: list[Answer] = field(default_factory=list)

    def capacity(self) -> Capacity:
        return Capacity(self.slots, INFO if self.slots else None, () if self.slots else ("none",))

    def submit(self, task: Task) -> None:
        self.tasks.append(task)
        self._ready += self._held  # late answers of earlier attempts come first
        self._held.clear()
        fate, name = self.fates.pop(0) if self.fates else "done", (task.key, task.attempt)
        done = Done(*name, segmented(task.volume), "host7")
        answers: dict[Fate, list[Answer]] = {
            "done": [done],
            "doubled": [done, done],
            "lost": [Lost(*name, "worker host7 ended")],
            "away": [Away(*name, "the scheduler does not answer")],
            "refused": [Refused(*name, self.error)],
            "other": [Done(*name, segmented(task.volume, EngineInfo("x", "9", "", "y", "z")), "host7")],
        }  # fmt: skip
        self._ready += answers.get(fate, [])
        if fate == "late":
            self._held.append(done)

    def poll(self, seconds: float) -> Sequence[Answer]:
        ready, self._ready = self._ready, []
        self.now.at += 0.0 if ready else seconds
        return ready

    def abandon(self, key: str, attempt: int) -> Abandoned:
        self.abandoned.append((key, attempt))
        return Abandoned("host7", self.begun)

    def close(self) -> None:
        self._ready.clear()
