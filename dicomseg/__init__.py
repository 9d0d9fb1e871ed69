"""Read DICOM series, measure at L4/5, and encode results as DICOM objects.

In: headers and pixels of a series, and its segmentation.
Out: one regular volume, measurements, files of a result.
Edge: none.
May import: none of our packages; no network, database, log or deep learning.
"""
