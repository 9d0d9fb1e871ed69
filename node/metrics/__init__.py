"""Answer monitoring: Prometheus metrics, health and readiness over HTTP; read only.

In: the journal, the log's events, processes, the state folder; requests of strangers.
Out: text of the Prometheus exposition format, JSON of health and readiness.
Edge: none.
May import: observe, store, journal, config, errors, events, faults, program.
"""
