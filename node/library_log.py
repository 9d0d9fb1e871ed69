"""What libraries and threads would write raw becomes events: class and place, never a value.

Their sentences and tracebacks quote what they work on, patient names too.
"""

from __future__ import annotations

import logging
import os
import stat
import sys
import threading
import warnings
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, TextIO

from node.event_log import EventLog, Seldom
from node.events import LibraryComplained, ThreadFailed
from node.faults import describe_error, error_trace
from node.quiet import quiet_libraries

STDERR: Final = 2


class _Bridge(logging.Handler):
    """Writes records of library loggers as events."""

    def __init__(self, log: EventLog, seldom: Seldom) -> None:
        super().__init__(logging.WARNING)
        self._log, self._seldom = log, seldom

    def emit(self, record: logging.LogRecord) -> None:
        place = f"{record.name} {record.filename}:{record.lineno} {record.funcName}"
        if self._seldom(place):
            error = record.exc_info[1] if record.exc_info else None
            self._log.event(
                LibraryComplained(
                    record.levelname.lower(), place,
                    "" if error is None else describe_error(error),
                    () if error is None else error_trace(error),
                )
            )  # fmt: skip


def catch_all(log: EventLog) -> None:
    """Turn what is raised in threads, logged and warned of by libraries into events of this log."""
    quiet_libraries()
    seldom = Seldom()

    def thread_failed(hook: threading.ExceptHookArgs) -> None:
        if hook.exc_value is not None and hook.exc_type is not SystemExit:
            name = "" if hook.thread is None else hook.thread.name
            log.event(
                ThreadFailed(name, describe_error(hook.exc_value), error_trace(hook.exc_value))
            )

    def unraisable(hook: sys.UnraisableHookArgs) -> None:
        if hook.exc_value is not None:
            log.event(
                ThreadFailed("cleanup", describe_error(hook.exc_value), error_trace(hook.exc_value))
            )

    def uncaught(_: type[BaseException], error: BaseException, __: TracebackType | None) -> None:
        log.event(ThreadFailed("main", describe_error(error), error_trace(error)))

    def warned(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        del message, file, line
        place = f"{Path(filename).name}:{lineno}"
        if seldom(place):
            log.event(LibraryComplained("warning", place, category.__name__))

    threading.excepthook, sys.unraisablehook, sys.excepthook = thread_failed, unraisable, uncaught
    warnings.showwarning = warned
    logging.getLogger().addHandler(_Bridge(log, seldom))


@dataclass(frozen=True, slots=True)
class LogFile:
    """The file that standard error goes to, by the name it had at the start; None when it is no file."""

    path: Path | None

    @classmethod
    def of_process(cls) -> LogFile:
        """Find out where standard error of this process goes."""
        with suppress(OSError):
            if stat.S_ISREG(os.fstat(STDERR).st_mode):
                return cls(Path(f"/proc/self/fd/{STDERR}").readlink())
        return cls(None)

    def reopen(self) -> bool:
        """Open the file by its name again, after it was moved away; False when there is none to open."""
        if self.path is None:
            return False
        try:
            handle = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        except OSError:
            return False
        was = os.fstat(STDERR)
        for number in (1, STDERR):  # standard output goes along where it went to the same file
            with suppress(OSError):
                now = os.fstat(number)
                if (now.st_dev, now.st_ino) == (was.st_dev, was.st_ino):
                    os.dup2(handle, number)
        os.close(handle)
        return True
