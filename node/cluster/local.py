"""The port's engine without any other machine: computes in this process, one task at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dicomseg.segmentation import NotInView, Segmentation
from dicomseg.volume import Volume
from model.bundle.load import LoadedModel
from model.segment import segment
from node.cluster.port import Abandoned, Answer, Capacity, Done, Refused, Task


class LocalEngine:
    """Computes what it was given in `poll`. load: loads and warms the model, called before the first task."""

    def __init__(
        self,
        load: Callable[[], LoadedModel],
        segment: Callable[[Volume, LoadedModel], Segmentation | NotInView] = segment,
    ) -> None:
        self._load, self._segment = load, segment
        self._model: LoadedModel | None = None
        self._tasks: list[Task] = []

    @property
    def model(self) -> LoadedModel:
        """The model, loaded at its first use. Raises `BundleError`, `EngineError`."""
        if self._model is None:
            self._model = self._load()
        return self._model

    def capacity(self) -> Capacity:
        """Return one slot. Raises `BundleError`, `EngineError`."""
        return Capacity(1, self.model.info)

    def submit(self, task: Task) -> None:
        """Keep a task for `poll`."""
        self._tasks.append(task)

    def poll(self, seconds: float) -> Sequence[Answer]:
        """Compute the oldest task, however long it takes: the supervisor's time limit is its only one."""
        del seconds
        if not self._tasks:
            return ()
        task = self._tasks.pop(0)
        try:
            return (Done(task.key, task.attempt, self._segment(task.volume, self.model)),)
        except MemoryError:
            raise  # the worker's own rule for it
        except Exception as error:  # noqa: BLE001 - an answer like any other
            return (Refused(task.key, task.attempt, error),)

    def abandon(self, key: str, attempt: int) -> Abandoned:
        """Forget a task that was not begun."""
        self._tasks = [t for t in self._tasks if (t.key, t.attempt) != (key, attempt)]
        return Abandoned(begun=False)

    def close(self) -> None:
        """Forget every task."""
        self._tasks.clear()
