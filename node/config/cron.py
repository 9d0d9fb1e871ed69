"""Five fields of cron in UTC, as the configuration gives them."""

from __future__ import annotations

from datetime import UTC

from apscheduler.triggers.cron import CronTrigger


def trigger_of(cron: str) -> CronTrigger:
    """Read five fields of cron in UTC. Raises `ValueError` with what to write instead."""
    fields = cron.split()
    if len(fields) != 5:
        raise ValueError(f'"{cron}" has {len(fields)} fields, not five; write e.g. "0 3 * * sun"')
    if any(c.isdigit() for c in fields[4].partition("/")[0]):
        # The library counts from Monday, cron from Sunday.
        raise ValueError(f'"{cron}": write the weekday as a name, mon to sun')
    try:
        return CronTrigger.from_crontab(cron, timezone=UTC)
    except ValueError as error:
        raise ValueError(f'"{cron}": {error}; write e.g. "0 3 * * sun"') from error
