"""Decide when a series is complete, or incomplete because nothing came any more.

In: receiving series and their headers.
Out: complete and incomplete series.
Edge: receiving to complete, incomplete.
May import: step, journal, config, events, clock.
"""
