"""Train a candidate from the model in service and decide on the fixed held-out cases whether to propose it.

In: prepared cases, the held-out set, the bundle in service, a recipe.
Out: the candidate's bundle, and `comparison.json` with verdict, reasons and table.
Edge: none.
May import: evaluate, export, fit, importing, data, phantom, errors.
"""
