"""What runs on a worker: one task, with the model that this process loaded at its start."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from dicomseg.segmentation import EngineInfo, NotInView, Segmentation
from dicomseg.volume import Volume
from model.bundle.load import LoadedModel
from model.segment import segment
from node.cluster.packed import Packed, pack

OVERDUE: Final = 70
"""Exit code of a worker that ended itself: its task took too long, and nothing else frees its slot."""

BEGUN: Final = "lumbar-node-begun"
"""Topic under which a worker tells the scheduler the name of every task that it begins."""


@dataclass(slots=True)
class _Served:
    """What this process has for its tasks; Dask calls plain functions, so it is the one state of a module in this room."""

    model: LoadedModel | None = None
    begun: Callable[[str], None] = lambda _: None


_SERVED: Final = _Served()


@dataclass(frozen=True, slots=True, eq=False)
class Raised:
    """The computation raised an error; it is raised again where the task came from."""

    error: Exception


def serve_model(model: LoadedModel, begun: Callable[[str], None]) -> None:
    """Give this process the model that `compute` runs. begun: called with the name of each task when it begins."""
    _SERVED.model, _SERVED.begun = model, begun


def compute(
    volume: Volume, info: EngineInfo, limit_s: float, name: str
) -> Packed | NotInView | Raised:
    """Segment a volume with the model of this process; an error is a value, so that no other worker tries it.

    info: model and engine that it must be. limit_s: seconds after which this process ends itself. name: of the task.
    """
    _SERVED.begun(name)
    model = _SERVED.model
    if model is None or model.info != info:
        return Raised(AssertionError("a task came to a worker of another kind"))
    overdue = threading.Timer(limit_s, os._exit, (OVERDUE,))
    overdue.daemon = True
    overdue.start()
    try:
        found = segment(volume, model)
        return pack(found) if isinstance(found, Segmentation) else found
    except MemoryError:
        os._exit(OVERDUE)  # what is left of this process is not to be trusted
    except Exception as error:  # noqa: BLE001 - raised again at home
        return Raised(error)
    finally:
        overdue.cancel()
