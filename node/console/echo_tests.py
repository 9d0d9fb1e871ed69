"""Tests of destinations in the background: who responds, and which objects they accept; the last answers are kept."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from dicomseg.errors import LumbarError
from node.errors import IllegalTransition

if TYPE_CHECKING:
    from node.deliver.echo import EchoResult

LIMIT_S: Final = 60.0
"""Time after which a destination has given no answer; its own time-out may be longer."""

Ask = Callable[[], "EchoResult"]


@dataclass(frozen=True, slots=True)
class Tested:
    """The last test of one destination. at: when it began or ended, in seconds since 1970. fault: why there is no result."""

    at: float
    result: EchoResult | None = None
    fault: str = ""

    @property
    def is_running(self) -> bool:
        """Whether nothing is known yet."""
        return self.result is None and not self.fault


@dataclass(slots=True)
class EchoTests:
    """The last tests by destination. version: changes with every answer."""

    wall: Callable[[], float] = time.time
    limit_s: float = LIMIT_S
    version: int = 0
    _busy: set[str] = field(default_factory=set)
    _found: dict[str, Tested] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def found(self) -> dict[str, Tested]:
        """Return the last test of every destination that was tested."""
        with self._lock:
            return dict(self._found)

    def start(self, asked: Mapping[str, Ask]) -> None:
        """Test these destinations, side by side; returns at once.

        Raises:
            IllegalTransition: all of them are being tested.
        """
        with self._lock:
            new = {name: ask for name, ask in asked.items() if name not in self._busy}
            if not new:
                raise IllegalTransition("it is being tested; wait for its answer")
            self._busy |= new.keys()
            self._found |= {name: Tested(self.wall()) for name in new}
            self.version += 1
        threading.Thread(target=self._test, args=(new,), name="echo", daemon=True).start()

    def _test(self, new: Mapping[str, Ask]) -> None:
        ends_at = time.monotonic() + self.limit_s
        for thread in list(self._begun(new)):
            thread.join(max(0.0, ends_at - time.monotonic()))
        late = f"no answer within {self.limit_s:.0f} s"
        for name in new:
            with self._lock:
                if self._found[name].is_running:
                    self._found[name] = Tested(self.wall(), fault=late)
                    self.version += 1

    def _begun(self, new: Mapping[str, Ask]) -> Iterator[threading.Thread]:
        for name, ask in new.items():
            thread = threading.Thread(target=self._one, args=(name, ask), name="echo", daemon=True)
            thread.start()
            yield thread

    def _one(self, name: str, ask: Ask) -> None:
        result, fault = None, ""
        try:
            result = ask()
        except LumbarError as error:
            fault = str(error)
        except Exception as error:  # noqa: BLE001 - the text may quote a secret, its kind does not
            fault = f"unexpected {type(error).__name__}; check its configuration"
        with self._lock:
            self._busy.discard(name)
            self._found[name] = Tested(self.wall(), result, fault)
            self.version += 1
