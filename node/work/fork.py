"""`Copies`: parts of a drawing worked out in copies of the process that draws (`dicomseg.draw.beside.Beside`)."""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import IO, Final, NoReturn, TypeVar

T = TypeVar("T")

_PR_SET_PDEATHSIG: Final = 1
"""prctl(2): the signal that the kernel sends to a process whose parent ends."""
_LIBC: Final = ctypes.CDLL(None)


@dataclass(slots=True, eq=False)
class Copies:
    """The copies of one drawing; leaving the block ends those whose answer was not taken.

    Only for a process whose other threads hold nothing that the work needs: a copy has the calling thread alone.
    """

    _running: dict[int, IO[bytes]] = field(default_factory=dict)

    def __enter__(self) -> Copies:
        return self

    def __exit__(self, *_: object) -> None:
        for child, pipe in self._running.items():
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
            pipe.close()
            os.waitpid(child, 0)
        self._running.clear()

    def run(self, work: Callable[[], T], /) -> Callable[[], T]:
        """Begin `work` in a copy. Where that fails, also in `work` itself, it is done here when its answer is wanted."""
        original = os.getpid()
        reading, writing = os.pipe()
        try:
            child = os.fork()
        except OSError:
            os.close(reading)
            os.close(writing)
            return work
        if child == 0:
            os.close(reading)
            _answer(work, writing, original)
        os.close(writing)
        self._running[child] = os.fdopen(reading, "rb")

        def answer() -> T:
            with self._running.pop(child) as pipe:
                try:
                    result: T = pickle.load(pipe)  # noqa: S301 - written by a copy of this process
                except (EOFError, pickle.UnpicklingError):
                    return work()
                finally:
                    os.waitpid(child, 0)
            return result

        return answer


def _answer(work: Callable[[], object], writing: int, original: int) -> NoReturn:
    """Write the answer into the pipe and end, in the copy; whatever is raised here is raised again by the original.

    A copy ends with its original, which is killed where it takes too long: work that hangs would hang on for ever.
    """
    try:
        _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != original:  # it ended before that call
            os._exit(1)
        with os.fdopen(writing, "wb") as pipe:
            pickle.dump(work(), pipe, protocol=5)
    except BaseException:  # noqa: BLE001 - nothing may run on in the copy
        os._exit(1)
    os._exit(0)
