"""Measure the synthetic study with the bundle in service, and compare with the first run and the truth.

In: the configuration; the moment of the day, and whether the node is idle.
Out: a line of the history below `selftest/` of the state folder; lines for `selftest --trend`.
Edge: none.
May import: phantom, store, journal, config, durable, errors, events, faults, clock, program.
"""
