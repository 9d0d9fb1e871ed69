"""Keep what is known of every object, series, result, delivery, job and bundle in one SQLite file.

In: calls of the steps and commands.
Out: frozen rows; every state and its event committed together, or neither.
Edge: executes all, decides none.
May import: errors, clock, durable.
"""
