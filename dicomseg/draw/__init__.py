"""Draw a result for people: the page to plan with, as pixels and as PDF, and surfaces of the segments.

In: `Result`, `Segmentation`, the source's `Volume`, a heading, a table of texts.
Out: arrays of pixels, bytes of PDF, STL and glTF.
Edge: none.
May import: measure, compare, result, segmentation, measurement_names, volume, structures.
"""
