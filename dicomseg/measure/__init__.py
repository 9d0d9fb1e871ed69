"""Measure distances and diameters on the oblique mid-disc plane, each with end points and uncertainty.

In: `Segmentation`, and what its model adds to the uncertainty.
Out: `Measurements`.
Edge: none.
May import: result, segmentation, measurement_names, volume, structures.
"""
