"""Explain what happened, what needs attention, and what of a result is in doubt.

In: the journal, result folders, the state folder.
Out: rows and lines for `status`, `list`, `why`, `doctor`, the console; how much is in doubt of a result.
Edge: none; the doubt of each result.
May import: store, journal, tls, config, errors, clock, backoff, durable.
"""
