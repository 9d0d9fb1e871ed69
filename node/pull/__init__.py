"""Fetch from a PACS what routing missed: studies that a person or a rule asks for, and of these what is not here.

In: rows of pulls and the rules of `[pull]`; answers of sources, untrusted.
Out: objects through the same reception as those that are sent; ended pulls with what was found, fetched and is missing.
Edge: none of a series; every change of a pull.
May import: receive, deliver, step, store, journal, tls, config, event_log, errors, events, faults, clock, backoff.
"""
