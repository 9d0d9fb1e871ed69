"""Send result files to every destination, verify that they are stored, take back what was superseded.

In: results with pending deliveries.
Out: confirmed or failed deliveries; reports on storage commitment that peers asked for.
Edge: every edge of a delivery; encoded to delivered with the last one.
May import: store, journal, tls, config, commitment, event_log, errors, events, faults, clock, backoff, durable.
"""
