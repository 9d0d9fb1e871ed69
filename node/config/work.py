"""`[work]`: how selected series become results."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from node.config.fields import Section


class WorkConfig(Section):
    """`[work]`: the worker processes that segment."""

    processes: int = Field(
        default=1,
        ge=1,
        le=16,
        description='Worker processes; each holds the model in memory. With engine "dask": slots of the cluster + 1.',
    )
    engine: Literal["local", "dask"] = Field(
        default="local",
        description='Where networks run: "local" (in the worker processes) or "dask" (on the machines of [cluster]).',
    )
    time_limit_seconds: float = Field(
        default=900.0, gt=0, description="Time limit for one series, in seconds; then its worker is replaced."
    )  # fmt: skip
    heartbeat_seconds: float = Field(
        default=2.0, gt=0, description="Worker heartbeat interval, in seconds."
    )
    memory_limit_mb: int = Field(
        default=6144,
        ge=512,
        description="Memory limit of one worker in MB, with the process that draws; a series needs about 2000.",
    )
    max_attempts: int = Field(
        default=3,
        ge=1,
        description="Attempts at a series whose worker dies, before it is failed. Restarts of the node do not count.",
    )
