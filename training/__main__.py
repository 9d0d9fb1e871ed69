"""`python -m training` is `lumbar-train`."""

from __future__ import annotations

from training.cli.app import main

main()
