"""Errors as text for journal and log: never the text of a library, which may quote a data set."""

from __future__ import annotations

import sqlite3
import traceback
from pathlib import Path

from dicomseg.errors import LumbarError


def describe_error(error: BaseException) -> str:
    """Return one line about an error: the text of ours and of the system, else class and place alone.

    The text of a library quotes the data set, and a patient's name with it.
    """
    if isinstance(error, LumbarError):
        return str(error)
    name = type(error).__name__
    if isinstance(error, OSError) and error.strerror:
        return f"{name}: {error.strerror}"
    if isinstance(error, sqlite3.Error):
        return f"{name}: {error}"
    frames = error_trace(error)
    return f"{name} in {frames[-1]}" if frames else name


def error_trace(error: BaseException) -> tuple[str, ...]:
    """Return where an error came from, outermost first, as "module.py:line function"; no values."""
    frames = traceback.extract_tb(error.__traceback__)
    return tuple(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in frames)
