"""The proof that nothing acknowledged is lost: the real node as a process of its own, and every fault that we can make.

`scenarios` are the rows of the table; `lab` is what a scenario works with; a `site` is one node with its
destinations; the `ledger` holds what senders were answered; the `verdict` compares it with disk, journal and
destinations; `points` names the steps at which the node is killed, `broken` the variants that must be found out,
`launch` puts both into the node's processes. `python -m tests.fault` runs it (`make fault`).
"""
