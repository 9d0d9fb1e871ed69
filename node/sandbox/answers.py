"""The loop of a child process: questions from its standard input, answers to its standard output."""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Callable
from typing import Any


def answer_questions(answer: Callable[[Any], object], most_bytes: int) -> None:
    """Answer until the other end is gone. most_bytes: of the address space of this process."""
    resource.setrlimit(resource.RLIMIT_AS, (most_bytes, most_bytes))
    for line in sys.stdin:
        sys.stdout.write(f"{json.dumps(answer(json.loads(line)))}\n")
        sys.stdout.flush()
