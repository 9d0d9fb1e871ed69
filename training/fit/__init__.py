"""Train the three networks (segmentation, level finder, nerve roots) by one loop.

In: prepared cases, a recipe, weights to begin with.
Out: averaged weights in a checkpoint, from which the same training also continues.
Edge: none.
May import: data, phantom, errors.
"""
