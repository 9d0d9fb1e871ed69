"""Objects between two processes of ours over a pipe: arrays are written as they lie in memory, not copied first."""

from __future__ import annotations

import pickle
import struct
from typing import IO, Any, Final

_LENGTH: Final = struct.Struct("<Q")


def write_message(pipe: IO[bytes], message: object) -> None:
    """Write one object. Raises `OSError` (`BrokenPipeError`) when the other side has ended."""
    buffers: list[pickle.PickleBuffer] = []
    head = pickle.dumps(message, protocol=5, buffer_callback=buffers.append)
    pipe.write(_LENGTH.pack(len(buffers)))
    parts: list[bytes | memoryview] = [head, *(b.raw() for b in buffers)]
    for part in parts:
        pipe.write(_LENGTH.pack(len(part)))
        pipe.write(part)
    pipe.flush()


def read_message(pipe: IO[bytes]) -> Any:
    """Read one object; arrays in it are read-only. Raises `EOFError` when the other side has ended.

    Only for pipes between a process and the child that it started: what is read is executed.
    """
    (count,) = _LENGTH.unpack(_read(pipe, _LENGTH.size))
    head, *buffers = (
        _read(pipe, *_LENGTH.unpack(_read(pipe, _LENGTH.size))) for _ in range(count + 1)
    )
    return pickle.loads(head, buffers=buffers)  # noqa: S301 - written by our own process


def _read(pipe: IO[bytes], size: int) -> bytes:
    content = pipe.read(size)
    if len(content) < size:
        raise EOFError
    return content
