"""The synthetic study: one seed in, picture, labels and geometry out."""

from __future__ import annotations

from training.phantom.phantom import build

__all__ = ["build"]
