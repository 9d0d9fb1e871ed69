"""Read, verify, load and write bundles: weights and a card in one folder.

In: the folder of a bundle.
Out: its card, or a `LoadedModel` ready to predict.
Edge: none; writes the folder of a new bundle.
May import: engines, roots, level, networks, patch, grid, errors.
"""
