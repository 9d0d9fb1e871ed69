"""`[retention]`: what is removed by itself, and when; by default nothing ever."""

from __future__ import annotations

from pydantic import Field

from node.config.fields import Section


class RetentionConfig(Section):
    """`[retention]`: files that are removed; only of series that are skipped, or delivered everywhere with proof; never corrections of readers. 0 = never."""

    delivered_days: float = Field(
        default=0.0, ge=0, description="Days after the last proof of storage until a delivered series is purged."
    )  # fmt: skip
    skipped_days: float = Field(
        default=0.0, ge=0, description="Days until a skipped series is purged, which no rule accepts."
    )  # fmt: skip
    keep_gb: float = Field(
        default=0.0, ge=0,
        description="Most GB of objects and results; above it series are purged early, skipped ones first.",
    )  # fmt: skip
    free_gb: float = Field(
        default=0.0, ge=0,
        description="Least free GB on the disk; below it series are purged early. Must exceed disk_high_mb.",
    )  # fmt: skip
    quarantine_days: float = Field(
        default=0.0, ge=0, description="Days until a quarantined object is purged."
    )
    quarantine_gb: float = Field(
        default=0.0, ge=0, description="Most GB of quarantined objects; above it the oldest are purged."
    )  # fmt: skip

    @property
    def is_off(self) -> bool:
        """Whether nothing is ever removed."""
        return not any(self.model_dump().values())
