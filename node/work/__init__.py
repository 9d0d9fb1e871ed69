"""Turn a selected series into a result folder, in worker processes that may be killed at any moment.

In: selected series.
Out: result folders; claims that are released when a worker ends.
Edge: selected to processing and back; processing to encoded, skipped, failed.
May import: step, cluster, store, journal, config, library_log, event_log, errors, events, faults, clock, backoff, durable, program.
"""
