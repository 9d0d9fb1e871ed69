"""What a machine may lack."""

from __future__ import annotations


class NotPossible(Exception):
    """What a scenario needs cannot be had on this machine; the sentence says what."""
