"""Explain what happened and what needs attention; read only.

In: the journal, result folders, the state folder.
Out: rows and lines for `status`, `list`, `why`, `doctor`.
Edge: none.
May import: store, journal, tls, config, errors, clock, backoff, durable.
"""
