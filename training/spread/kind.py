"""`FoldKind`: a worker that trains folds, as it registers itself; and the digest of its cases."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

from cluster.machine import Machine
from model.bundle.card import read_card
from training.data.cases import list_cases


@dataclass(frozen=True, slots=True)
class FoldKind(Machine):
    """What must be the same on both sides. cases: digest of the folder of cases. shipped: of the shipped bundle."""

    torch: str
    cases: str
    shipped: str

    @classmethod
    def of(cls, cases: Path, shipped: Path) -> FoldKind:
        """Return the kind of this machine with a folder of cases.

        Raises:
            SourceMissing: there is no such folder.
            BundleError: the shipped bundle is damaged.
        """
        return cls.here(version("torch"), digest_of_cases(cases), str(read_card(shipped)["digest"]))

    def unlike(self, wanted: FoldKind) -> str:
        """Return why a worker of this kind may not be used, "" if it may."""
        other = self.other_program("here is", wanted)
        if other:
            return other
        if self.torch.split("+")[0] != wanted.torch.split("+")[0]:
            return f"torch {self.torch}, here is {wanted.torch}; install the same"
        if self.cases != wanted.cases:
            return (
                f"cases {self.cases[:12]}, here are {wanted.cases[:12]}; copy the folder of --cases there"
                " and start the worker again"
            )
        if self.shipped != wanted.shipped:
            return f"shipped bundle {self.shipped[:12]}, here is {wanted.shipped[:12]}; install the same wheel"
        return ""


def digest_of_cases(cases: Path) -> str:
    """Return a digest of every case below a folder, with its place in it, in the order of training.

    Raises:
        SourceMissing: there is no such folder.
    """
    total = hashlib.sha256()
    for path in list_cases(cases):
        for file in (path, path.with_suffix(".json")):
            total.update(f"{file.relative_to(cases).as_posix()}\n".encode())
            with file.open("rb") as stream:
                total.update(hashlib.file_digest(stream, "sha256").digest())
    return total.hexdigest()
