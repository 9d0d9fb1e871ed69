"""`python -m node` is `lumbar-node`."""

from __future__ import annotations

from node.cli.app import main

main()
