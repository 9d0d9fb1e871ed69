"""Mend a stopped node: bring files and rows together again, item by item, and say what was done.

In: the state folder of a node that does not run.
Out: one line per item that was mended or left; what was moved away, below `aside/` of the state folder.
Edge: the edges of `receive` and `work` for what it finds: stored, set aside, returned claims, results made again.
May import: receive, work, retention, store, sandbox, journal, errors, durable.
"""
