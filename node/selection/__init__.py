"""Judge complete series by the rules, and prefer one of several reconstructions.

In: complete series and their headers.
Out: selected and skipped series, each with its reasons.
Edge: complete to selected, skipped.
May import: step, journal, events, clock.
"""
