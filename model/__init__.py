"""Arrays and geometry in, a `Segmentation` out: level, window, networks, labels and plausibility.

In: a `Volume` in LPS mm, and a bundle of weights with its card.
Out: `Segmentation` or `NotInView`.
Edge: none.
May import: dicomseg.
"""
