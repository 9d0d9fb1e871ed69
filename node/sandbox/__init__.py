"""Run what parses untrusted bytes in child processes with limited memory and time.

In: questions about files that peers sent.
Out: plain answers; or that a child needed too much for one, and was ended.
Edge: none.
May import: nothing of node.
"""
