"""The sources that the configuration describes."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Final

from node.clock import Clock
from node.config.pull import DicomwebSource, SourceConfig
from node.config.sections import Config
from node.events import Log
from node.journal.journal import Journal
from node.pull.port import Source
from node.pull.step import PullStep
from node.receive.intake import Intake
from node.tls.credentials import Credentials

MB: Final = 1_000_000


def build_source(
    config: SourceConfig,
    node: Config,
    credentials: Credentials | None,
    stopped: Callable[[], bool] = lambda: False,
) -> Source:
    """Make the source that the configuration describes; network code is imported here only."""
    if isinstance(config, DicomwebSource):
        from node.pull.dicomweb import DicomwebPacs  # noqa: PLC0415 - httpx, only where it is used

        return DicomwebPacs.of(config, credentials, stopped)
    from node.pull.dicom import DicomPacs  # noqa: PLC0415 - half a second of pynetdicom

    largest = node.receive.max_object_mb * MB
    return DicomPacs.of(config, node.node.ae_title, credentials, largest, stopped)


def step_of(
    config: Config,
    journal: Journal,
    intake: Intake,
    clock: Clock,
    log: Log,
    credentials: Credentials | None,
    stopped: Callable[[], bool],
) -> PullStep:
    """Make the step of the service; stopped: whether it ends."""
    sources = {s.name: build_source(s, config, credentials, stopped) for s in config.pull.source}
    senders = {
        s.name: s.name if isinstance(s, DicomwebSource) else s.ae_title for s in config.pull.source
    }
    return PullStep(
        config.pull, sources, senders, journal, config.rules, intake, clock, random.random, log, stopped
    )  # fmt: skip
