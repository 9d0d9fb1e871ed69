"""Build every step from the configuration, run them side by side, stop in order.

In: the configuration.
Out: a running node, or an exit code.
Edge: none.
May import: receive, track, selection, work, deliver, models, metrics, notices, observe, audit, step, store, sandbox, journal, tls, config, library_log, event_log, errors, events, faults, clock, backoff, program.
"""
