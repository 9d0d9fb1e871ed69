"""Locate the L4/5 disc in a volume of any orientation.

In: a `Volume` and the level network.
Out: `Level` or `NotInView`.
Edge: none.
May import: networks.
"""
