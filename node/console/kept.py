"""What costs more than a page may: computed once for all who ask within some seconds."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class Kept:
    """Values by name, with the moment at which each was made. Who asks meanwhile waits for the same computation."""

    now: Callable[[], float] = time.monotonic
    _values: dict[str, tuple[float, Any]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def get(self, name: str, seconds: float, make: Callable[[], T]) -> T:
        """Return the value of this name, made again where it is older than that."""
        with self._lock:
            at, value = self._values.get(name, (0.0, None))
            if name not in self._values or self.now() - at > seconds:
                value = make()
                self._values[name] = (self.now(), value)
            found: T = value
            return found
