"""Segment on other machines: a narrow port, the cluster behind it, and the programs that run there.

In: volumes with their grids, the digest of the bundle in service.
Out: segmentations, refusals, or why an attempt was lost; never a header, never a file.
Edge: none; the worker that holds the claim writes what becomes of it.
May import: tls, config, library_log, event_log, errors, events, faults, clock, program.
"""
