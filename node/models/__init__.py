"""Say which bundle serves, run retrainings, and promote what they propose when a person asks.

In: bundles, queued jobs, the schedule.
Out: installed bundles, promotions, ended jobs.
Edge: every edge of a job.
May import: store, journal, config, errors, events, faults, clock, durable.
"""
