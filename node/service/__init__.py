"""Build every step from the configuration, run them side by side, stop in order.

In: the configuration.
Out: a running node, or an exit code.
Edge: none.
May import: selftest, receive, track, selection, work, deliver, followup, models, metrics, notices, pull, observe, audit, retention, review, step, store, sandbox, journal, tls, config, library_log, event_log, errors, events, faults, clock, backoff, program.
"""
