"""Spread the folds of a cross-validation over workers on other machines.

In: folds and their plan, the folder of cases, the address of a scheduler.
Out: the folders of folds, as one machine would have made them.
Edge: none.
May import: evaluate, fit, data, errors.
"""
