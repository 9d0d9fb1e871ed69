"""Run synthetic studies through a real PACS, the node and back, and compare with ground truth.

In: options of `lumbar-node demo`.
Out: a printed report; everything else below one folder.
Edge: none; the node that it starts is a process of its own.
May import: console, observe, store, journal, errors, free_ports.
"""
