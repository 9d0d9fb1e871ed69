"""The destination that the tests use: it keeps files in memory and answers by a script."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from node.deliver.offers import EchoAnswer, Offer, all_accepted
from node.deliver.port import Outcome, ResultFile, StorageCheck


@dataclass(slots=True)
class InMemory:
    """A destination for tests: keeps what it gets, and answers by a script when given one.

    script: what each call of `send` answers, first to last; afterwards it accepts. One outcome is for every
    file, a tuple for those that it names. checks: the same for `verify_stored`. series: what `count` knows, by study and series. responds: what
    `probe` answers.
    """

    name: str
    script: list[Outcome | tuple[Outcome, ...]] = field(default_factory=list)
    checks: list[StorageCheck] = field(default_factory=list)
    held: dict[str, bytes] = field(default_factory=dict)
    series: dict[tuple[str, str], int] = field(default_factory=dict)
    offers_query: bool = True
    responds: bool = False
    probes: int = 0
    sends: int = 0
    asked: int = 0

    def send(self, files: Sequence[ResultFile]) -> tuple[Outcome, ...]:
        """Keep every file, or answer the next line of the script; those it does not name are kept."""
        self.sends += 1
        answer = self.script.pop(0) if self.script else ()
        if isinstance(answer, Outcome):
            return tuple(replace(answer, file=p.name) for p in files)
        answers = {o.file: o for o in answer}
        kept = [p for p in files if p.name not in answers]
        self.held |= {f"{p.path.parent.name}/{p.name}": p.path.read_bytes() for p in kept}
        return tuple(answers.get(p.name, Outcome(p.name, "accepted")) for p in files)

    def verify_stored(self, files: Sequence[ResultFile]) -> StorageCheck:
        """Answer the next of `checks`, or compare digests with what is held."""
        self.asked += 1
        if self.checks:
            return self.checks.pop(0)
        if not self.offers_query:
            return StorageCheck("unsupported", "no query offered")
        missing = tuple(p.name for p in files if not self._holds(p))
        if missing:
            return StorageCheck("missing", f"not held: {', '.join(missing)}", missing)
        return StorageCheck("stored", "")

    def _holds(self, file: ResultFile) -> bool:
        content = self.held.get(f"{file.path.parent.name}/{file.name}")
        return content is not None and hashlib.sha256(content).hexdigest() == file.sha256

    def count(self, study: str, series: str) -> int | None:
        """Answer from `series`."""
        return self.series.get((study, series))

    def probe(self) -> bool:
        """Answer from `responds`."""
        self.probes += 1
        return self.responds

    def echo(self, offers: Sequence[Offer] = ()) -> EchoAnswer:
        """Answer always, and accept everything."""
        return EchoAnswer("in memory", all_accepted(offers))
