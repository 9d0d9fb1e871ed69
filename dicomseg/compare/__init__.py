"""Compare values of one patient's results: the change, and whether it exceeds what both values leave open.

In: contents of `result.json`.
Out: `Reading` and `Change`.
Edge: none.
May import: measurement_names.
"""
