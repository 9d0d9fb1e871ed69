"""Parse the command line of `lumbar-train`, call a room, print; errors become one line and an exit code.

In: arguments.
Out: text on standard output, messages on standard error, an exit code.
Edge: none.
May import: portable, retrain, report, spread, evaluate, export, fit, importing, data, phantom, errors.
"""
