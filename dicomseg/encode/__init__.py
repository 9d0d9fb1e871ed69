"""Encode a result as files: segmentation, image, reports, page, surfaces, `result.json`; rejection notes.

In: `Source`, `Segmentation`, `Measurements`, identity of the node.
Out: bytes of every file, by name.
Edge: none.
May import: draw, measure, compare, result, read, segmentation, measurement_names, implementation, volume, structures, errors.
"""
