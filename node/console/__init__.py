"""Serve pages about series, results and deliveries to browsers, behind a login; a process of its own.

In: requests of browsers, the journal, result folders, the state folder, who may log in.
Out: HTML pages, a picture, events while something changes; entries of the audit trail, promotions that a person asked for.
Edge: none; retry, delivery and withdrawal ask the journal.
May import: observe, deliver, audit, models, store, journal, tls, config, event_log, errors, events, faults, clock, durable.
"""
