"""Keep bytes below `[node] state`: objects, results, the lock, and the name of every path.

In: data sets as their bytes arrive.
Out: durable files named by their content.
Edge: instance to stored or quarantined, with the row that `receive` writes.
May import: errors, durable.
"""
