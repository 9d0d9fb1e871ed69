"""Asks a child process with limited memory and time to compare two objects (`node.receive.compare`).

A small compressed frame may declare gigabytes, a header may hold a million elements, and native decoders
may crash: none of it happens in the serving process.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from node.receive.comparison import OTHER, Comparison
from node.sandbox.child import Child, Silence

MOST_S: Final = 20.0
"""Time for one comparison, the child's start with its imports included; senders wait half a minute."""


class Comparer:
    """Starts the child at the first question, and again after one that it did not survive."""

    def __init__(self, most_s: float = MOST_S) -> None:
        self._child = Child("node.receive.compare", most_s)

    def __call__(self, old: Path, new: Path) -> Comparison:
        """Compare two files of one SOP Instance UID; what cannot be compared is other content.

        Raises `OSError` where the machine has no room for the child: then nothing is known of the objects.
        """
        answer = self._child.ask([os.fspath(p.absolute()) for p in (old, new)])
        return OTHER if isinstance(answer, Silence) else Comparison(**answer)

    def close(self) -> None:
        """End the child."""
        self._child.close()
