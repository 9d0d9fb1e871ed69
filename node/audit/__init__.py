"""Keep the audit trail: who sent, received, changed or asked for what, as hash-chained lines, and by syslog.

In: the journal's events and promotions, events of the log, what a command did.
Out: lines below `audit/` of the state folder, DICOM audit messages (PS3.15 A.5), the findings of `audit verify`.
Edge: none.
May import: store, journal, config, errors, events, faults, clock, backoff, durable, program.
"""
