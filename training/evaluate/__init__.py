"""Evaluate the inference pipeline on labelled cases: scores, measurements, cross-validation, card values.

In: prepared cases, a bundle; volumes with outlines of readers.
Out: `CaseResult`, summaries by group, one results file; weights and results of each fold.
Edge: none.
May import: export, fit, importing, data, phantom, errors.
"""
