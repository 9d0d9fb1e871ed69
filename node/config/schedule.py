"""`[training.schedule]`: when a retraining is enqueued, and with what."""

from __future__ import annotations

from pydantic import Field, field_validator, model_validator

from node.config.fields import FileName, Section


class ScheduleConfig(Section):
    """`[training.schedule]`: when a retraining is enqueued, and with what. Promotion is always manual."""

    cron: str = Field(
        default="",
        description='Times in UTC as minute, hour, day, month, weekday, e.g. "0 3 * * sun"; empty = never.',
    )
    data: FileName = Field(default="", description="Folder of prepared cases.")
    held_out: FileName = Field(
        default="", description="JSON file of the fixed held-out cases (`lumbar-train held-out`)."
    )
    recipe: FileName = Field(default="", description="Recipe (TOML); empty = the default one.")
    minimum_new_cases: int = Field(
        default=10,
        ge=0,
        description="New or changed cases since the last comparison, below which nothing is enqueued.",
    )
    margin: float = Field(
        default=0.01,
        ge=0,
        le=1,
        description="Largest accepted drop in mean Dice of any structure against the model in service.",
    )
    max_hours: float = Field(
        default=12.0,
        gt=0,
        description="Hours of training per start; an unfinished training resumes when enqueued again.",
    )

    @field_validator("cron")
    @classmethod
    def _times(cls, value: str) -> str:
        if value:
            from node.config.cron import trigger_of  # noqa: PLC0415 - only where there is a schedule

            trigger_of(value)
        return value

    @model_validator(mode="after")
    def _complete(self) -> ScheduleConfig:
        missing = next((k for k in ("data", "held_out") if self.cron and not getattr(self, k)), "")
        if missing:
            raise ValueError(f"cron needs {missing}; give both, or leave cron empty")
        return self


class TrainingConfig(Section):
    """`[training]`: what the console shows of trainings started manually, and the schedule."""

    runs: FileName = Field(
        default="",
        description="Folder whose folders are runs of `lumbar-train fit` and `crossval`; the console shows them. Empty = none.",
    )
    schedule: ScheduleConfig = ScheduleConfig()
