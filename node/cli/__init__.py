"""The commands of `lumbar-node`: one module per group, all registered the same way.

In: arguments.
Out: lines, tables or JSON, and an exit code.
Edge: none; `retry`, `models` and `jobs` ask the journal.
May import: every room of node.
"""
