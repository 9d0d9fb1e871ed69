"""Remove files that are not needed any more, by the limits of `[retention]` or because a person asks.

In: series in which no step has anything to do, quarantined objects; limits, or UIDs and ages.
Out: rows that say `purged` without their files; what would leave, and why.
Edge: delivered, encoded, skipped, incomplete, failed, quarantined, superseded to purged.
May import: store, journal, config, errors, events, clock, durable.
"""
