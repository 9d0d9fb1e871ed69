"""`Machine`: what must be the same on both sides of a cluster, as a worker registers it."""

from __future__ import annotations

import json
import platform
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from importlib.metadata import version
from typing import Final, Self

PROGRAM: Final = "lumbar-node"


@dataclass(frozen=True, slots=True)
class Machine:
    """Program, interpreter and transport; a kind of worker adds what it computes with."""

    program: str
    python: str
    distributed: str

    @classmethod
    def here(cls, *more: str) -> Self:
        """Return the kind of this machine. more: the values that a kind adds."""
        python = ".".join(platform.python_version_tuple()[:2])
        return cls(version(PROGRAM), python, version("distributed"), *more)

    @property
    def resource(self) -> str:
        """The kind as the name of a resource, of which a worker has one: tasks that need it get no other worker."""
        return json.dumps(asdict(self), sort_keys=True)

    @classmethod
    def read(cls, resources: Iterable[str]) -> Self | None:
        """Return the kind among the resources of a worker; None of a worker of another one."""
        for name in resources:
            try:
                values = json.loads(name)
                if isinstance(values, dict) and all(isinstance(v, str) for v in values.values()):
                    return cls(**values)
            except (TypeError, ValueError):
                continue
        return None

    def other_program(self, there: str, wanted: Machine) -> str:
        """Return which program differs from the wanted one, "" if none does. there: who wants it."""
        pairs = (
            ("version", self.program, wanted.program, "install the same wheel"),
            ("Python", self.python, wanted.python, "install the same"),
            ("distributed", self.distributed, wanted.distributed, "install the same"),
        )
        unlike = (
            f"{what} {mine}, {there} {theirs}; {remedy}"
            for what, mine, theirs, remedy in pairs
            if mine != theirs
        )
        return next(unlike, "")
