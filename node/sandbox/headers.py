"""Reads headers in a process of its own: the serving process parses nothing that a peer sent."""

from __future__ import annotations

import os
from dataclasses import fields
from pathlib import Path
from typing import Any, Final, Self

from dicomseg.errors import Unreadable
from dicomseg.read.instance import Instance
from node.sandbox.child import Child, Silence

MOST_S: Final = 20.0
"""Time for one header, the start of the process included; a large Enhanced MR object takes two seconds."""
_MODULE: Final = "node.sandbox.header_process"
_FIELDS: Final = tuple(f.name for f in fields(Instance) if f.name != "path")
_CAUSES: Final = {
    "late": f"took more than {MOST_S:g} s",
    "ended": "ended the process that reads it",
}


class HeaderReader:
    """Returns the `Instance` of a file, as `dicomseg.read.header.read_instance`; for any thread."""

    def __init__(self, most_s: float = MOST_S) -> None:
        self._child = Child(_MODULE, most_s)

    def __enter__(self) -> Self:
        """Start the process before the first question."""
        self._child.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the process."""
        self._child.close()

    def __call__(self, path: Path) -> Instance:
        """Read one header. Raises `Unreadable`, and OSError where the machine cannot read now."""
        answer = self._child.ask(["header", os.fspath(path.absolute())])
        if isinstance(answer, Silence):
            raise Unreadable(
                f"{path.name}: reading its header {_CAUSES[answer.cause]}; send it again, or leave it out"
            )
        if "instance" in answer:
            values: tuple[Any, ...] = _frozen(answer["instance"])
            return Instance(path=path, **dict(zip(_FIELDS, values, strict=True)))
        cause = None if answer["errno"] is None else OSError(answer["errno"], "")
        if cause is not None and not answer["refused"]:
            raise cause
        raise Unreadable(answer["refused"]) from cause

    def meta(self, path: Path) -> dict[str, str]:
        """Return the UIDs of the file meta information by keyword, "" for each that cannot be read."""
        answer = self._child.ask(["meta", os.fspath(path.absolute())])
        return {} if isinstance(answer, Silence) else answer


def _frozen(values: list[Any]) -> tuple[Any, ...]:
    """Lists of JSON as the tuples that they were."""
    return tuple(_frozen(v) if type(v) is list else v for v in values)
