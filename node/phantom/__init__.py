"""Make the synthetic study of known truth, take it through the pipeline, and compare the result with the truth.

In: a folder, the configuration.
Out: DICOM files with `truth.json` and `labels.npz`; a result folder; values beside true values.
Edge: none.
May import: work, store, journal, config, errors.
"""
