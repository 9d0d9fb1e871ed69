"""Rows of a step, one by one: what one raises is that row's affair, and the others get their turn.

Three kinds of fault: an object that cannot be read is set aside with its reason; a row that moved on
meanwhile is left alone; a row that fails for any other reason (database busy, disk, a bug) is put off,
ever longer, and says so in the journal and once in the log.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Protocol, TypeVar

from dicomseg.errors import InputRefused
from dicomseg.read.instance import Instance
from node.backoff import wait_s
from node.clock import Clock
from node.errors import ClaimLost, IllegalTransition
from node.events import Log, ObjectQuarantined, RowFailed
from node.faults import describe_error, error_trace
from node.journal.journal import Journal
from node.journal.rows import SeriesKey, SeriesRow

FIRST_WAIT_S: Final = 1.0
LONGEST_WAIT_S: Final = 300.0
"""Waits of a row that failed: a busy database is free in seconds, a full disk is cleared in minutes."""

MACHINE_ERRORS: Final = frozenset(
    {
        errno.EMFILE,
        errno.ENFILE,
        errno.ENOMEM,
        errno.EAGAIN,
        errno.EINTR,
        errno.ESTALE,
        errno.ETIMEDOUT,
    }
)
"""Errors of a read that say nothing about the file: too many open files, a network disk that is away."""

MOST_FRAMES: Final = 200_000
"""Frames of one series whose geometry is held in memory, half a kilobyte each: ten times what a series of
functional MR has. A few kilobytes, deflated, hold as many thousand frames."""

R = TypeVar("R")


def each(
    rows: Iterable[R], act: Callable[[R], bool | int], on_fault: Callable[[R, Exception], None]
) -> int:
    """Act on every row; returns how many moved. `on_fault` hears what a row raised, except that it moved on."""
    moved = 0
    for row in rows:
        try:
            moved += act(row)
        except (IllegalTransition, ClaimLost):
            continue  # it is another one's now
        except Exception as error:  # noqa: BLE001 - one bad row never stops a step
            on_fault(row, error)
    return moved


@dataclass(frozen=True, slots=True)
class PutOff:
    """Puts off a series at which a step failed, by the back-off over the faults in a row."""

    journal: Journal
    step: str
    clock: Clock
    log: Log

    def __call__(self, row: SeriesRow, error: Exception) -> None:
        """Record the fault in the journal, and in the log when it is another one than before."""
        reason = describe_error(error)
        until = self.clock.wall() + wait_s(row.fault_tries + 1, FIRST_WAIT_S, LONGEST_WAIT_S)
        if reason != row.fault:
            self.log(RowFailed(self.step, row.key.series, reason, error_trace(error)))
        self.journal.series.defer(row.key, self.step, reason, until)


def read_headers(
    journal: Journal,
    key: SeriesKey,
    read: Callable[[Path], Instance],
    log: Log,
    skip: int = 0,
) -> tuple[list[Instance], int]:
    """Return the headers of a series' stored objects in order of arrival, and how many were set aside unread.

    skip: objects at the beginning to be left out.

    Raises `OSError` where the machine cannot read anything now.
    """
    readable: list[Instance] = []
    rows = journal.instances.of_series(key, skip)
    frames = 0
    for row in rows:
        instance = read_or_reason(row.path, read)
        if isinstance(instance, Instance) and frames + frames_in_memory(instance) > MOST_FRAMES:
            instance = f"more than {MOST_FRAMES} frames in one series; send it in parts"
        if isinstance(instance, Instance):
            frames += frames_in_memory(instance)
            readable.append(instance)
        else:
            from node.store.spool import Spool  # noqa: PLC0415 - it reads DICOM, and is seldom needed

            damaged = not Spool.intact(row.path, row.digest)
            journal.instances.set_aside(row.sop_instance_uid, row.digest, instance, damaged=damaged)
            log(ObjectQuarantined(row.sop_instance_uid, instance, str(row.path)))
    return readable, len(rows) - len(readable)


def frames_in_memory(instance: Instance) -> int:
    """Return the number of frames of a multi-frame object that its header describes one by one."""
    return max(
        len(instance.frame_positions_lps),
        len(instance.frame_orientations_lps),
        len(instance.frame_spacings_mm),
        len(instance.frame_echo_times_ms),
        len(instance.frame_image_types),
        len(instance.frame_stacks),
    )


def read_or_reason(path: Path, read: Callable[[Path], Instance]) -> Instance | str:
    """Return the header of one object, or why it cannot be read. Raises `OSError` as `read_headers` does."""
    try:
        return read(path)
    except InputRefused as error:
        cause = error.__cause__
        if isinstance(cause, OSError) and cause.errno in MACHINE_ERRORS:
            raise cause from error
        return str(error)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in MACHINE_ERRORS:
            raise
        return f"{path.name}: cannot be read ({describe_error(error)}); send it again"


class Step(Protocol):
    """Something that acts on what is in its state, once."""

    def run_once(self) -> int:
        """Act; returns how many things moved."""
        ...
