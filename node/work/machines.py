"""What a worker process computes with: a model of its own, or the cluster where [work] engine is "dask"."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from model.bundle.calibration import model_errors
from model.bundle.card import default_path, read_card
from model.bundle.load import LoadedModel
from node.cluster.dispatch import Deadlines, Dispatcher
from node.cluster.extra import require_extra
from node.cluster.local import LocalEngine
from node.cluster.port import Capacity
from node.config.sections import Config
from node.events import ClusterSeen, Log, StepFailed
from node.work.load_model import load_model
from node.work.pipeline import Computing
from node.work.warm import warm_networks
from node.work.worker_process import number_in, slots_line


def computing(config: Config, bundle: Path | None, token: str, log: Log) -> Computing:
    """Load and warm the model, or find the way to the cluster; whether that is there is seen later.

    bundle: the promoted one, if any. token: of the worker process.

    Raises:
        BundleError: the bundle in service is damaged.
        EngineError: the engine is not available.
        ClusterRefused: the extra is not installed.
        TlsError: a file of [cluster] cannot be used.
    """

    def load() -> LoadedModel:
        model = load_model(config.model, state=config.node.state, path=bundle)
        if model.note:
            log(StepFailed("engine", model.note))
        warm_networks(model)
        return model

    if config.work.engine == "local":
        return load()
    require_extra()
    from node.cluster.client import DaskEngine  # noqa: PLC0415 - Dask is an extra

    folder = bundle or (Path(config.model.bundle) if config.model.bundle else default_path())
    card = read_card(folder)
    number = number_in(token)
    return Dispatcher(
        DaskEngine(config.cluster, card),
        token,
        number,
        Deadlines(config.cluster.deadline_seconds),
        model_errors(card, folder),
        LocalEngine(load) if config.cluster.fallback == "local" else None,
        Teller(log if number == 1 else None).tell,
    )


@dataclass(slots=True, eq=False)
class Teller:
    """Tells supervisor and log when the cluster has changed. log: of the first worker process; others are quiet."""

    log: Log | None
    _last: Capacity | None = None

    def tell(self, found: Capacity) -> None:
        """Take the newest capacity."""
        if found == self._last:
            return
        if self._last is None or found.slots != self._last.slots:
            sys.stdout.buffer.write(slots_line(found.slots))
            sys.stdout.buffer.flush()
        self._last = found
        if self.log is not None:
            self.log(ClusterSeen(found.slots, found.unused))
