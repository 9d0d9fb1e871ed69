"""Train, evaluate and report the models that the node runs.

In: synthetic patients, labelled images, a bundle.
Out: a bundle with its card; evaluations and reports.
Edge: none.
May import: model, dicomseg.
"""
