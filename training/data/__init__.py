"""Prepare, list and divide the cases that training and evaluation read.

In: phantoms, SPIDER volumes, CT label maps; folders of prepared cases.
Out: `<case>.npz` and `<case>.json`; folds and held-out sets of case ids.
Edge: none.
May import: phantom, errors.
"""
