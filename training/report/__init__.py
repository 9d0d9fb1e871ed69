"""Show the results of an evaluation: tables, plots, pictures, and one HTML file that needs no network.

In: a results file, prepared cases, predicted labels.
Out: PNG, HTML, Markdown, CSV; rows of text cells for the terminal.
Edge: none.
May import: evaluate, export, fit, importing, data, phantom, errors.
"""
