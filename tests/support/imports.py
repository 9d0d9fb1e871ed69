"""What a new Python has imported after one module: the linter is blind to what packages import in turn."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterable


def imported(module: str, names: Iterable[str]) -> set[str]:
    """Return which of `names` are imported once a new Python has imported `module`."""
    code = f"import sys, {module}; print(*({set(names)!r} & sys.modules.keys()))"
    run = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    return set(run.stdout.split())
