"""Report to people by mail and webhook: a new kind of fault, its end, and a digest every day.

In: what needs attention, the health of the service, counts of the journal.
Out: messages without patient data, sent at least once; what was reported, in one file of the state folder.
Edge: none.
May import: observe, step, store, journal, tls, config, event_log, errors, events, faults, clock, backoff, durable.
"""
