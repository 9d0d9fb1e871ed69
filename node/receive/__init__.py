"""Take associations and turn C-STORE into durable bytes and a row, in this order, before the answer.

In: connections of peers; at the start, files without a row.
Out: stored, quarantined and corrected instances; requests and reports of storage commitment.
Edge: none to receiving; any state back to receiving for a late or corrected instance.
May import: store, sandbox, journal, tls, config, commitment, event_log, errors, events, faults, durable.
"""
