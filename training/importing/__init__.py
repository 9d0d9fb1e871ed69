"""Import external labelled images as prepared cases, under pseudonyms and by named rules.

In: DICOM MR with SEG from a folder or a DICOMweb server, pairs of volumes, a dataset of nnU-Net, a table of labels.
Out: `<case>.npz` and `<case>.json`, `manifest.json`, `pseudonym.key`.
Edge: none.
May import: data, phantom, errors.
"""
