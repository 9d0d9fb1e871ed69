"""Send result files to every destination, verify that they are stored, take back what was superseded.

In: results with pending deliveries.
Out: confirmed or failed deliveries.
Edge: every edge of a delivery; encoded to delivered with the last one.
May import: store, journal, config, errors, events, faults, backoff, durable.
"""
