"""What the kernel tells of this process: memory, processor time, open files."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_PROC: Final = Path("/proc/self")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
_START_FIELD: Final = 19
"""Field of /proc/self/stat behind the name: clock ticks from the machine's start to the process's."""


@dataclass(frozen=True, slots=True)
class ProcessFigures:
    """memory in bytes, cpu in seconds, started_at in seconds since 1970; 0 where the kernel does not tell."""

    memory: int
    cpu: float
    files: int
    started_at: float


def process_figures() -> ProcessFigures:
    """Read them."""
    memory = files = 0
    with suppress(OSError, ValueError, IndexError):
        memory = int((_PROC / "statm").read_text(encoding="ascii").split()[1]) * _PAGE
        files = len(os.listdir(_PROC / "fd"))  # noqa: PTH208 - counted, not read
    return ProcessFigures(memory, time.process_time(), files, _started_at())


def _started_at() -> float:
    with suppress(OSError, ValueError, IndexError):
        behind_name = (
            (_PROC / "stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2]
        )
        ticks = int(behind_name.split()[_START_FIELD])
        age_s = time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK")
        return round(time.time() - age_s, 2)
    return 0.0
