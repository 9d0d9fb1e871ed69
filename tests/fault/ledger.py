"""What senders were answered, object by object: the truth that everything else is compared with."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from tests.fault.objects import Instance, Series

SUCCESS: Final = 0x0000
NO_ANSWER: Final = -1


@dataclass(frozen=True, slots=True)
class Answer:
    """One object that was sent and its status, `NO_ANSWER` where the connection ended before."""

    sop_instance: str
    digest: str
    status: int


@dataclass(slots=True)
class Ledger:
    """Answers in the order in which they came, from any number of senders at once.

    expected: series that must end as delivered; every other one must end too, in whatever state.
    """

    answers: list[Answer] = field(default_factory=list)
    expected: list[Series] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def record(self, instance: Instance, status: int) -> None:
        """Add one answer."""
        with self._lock:
            self.answers.append(Answer(instance.sop_instance, instance.digest, status))

    @property
    def acknowledged(self) -> set[tuple[str, str]]:
        """SOP Instance UID and digest of every object that was answered with success."""
        with self._lock:
            return {(a.sop_instance, a.digest) for a in self.answers if a.status == SUCCESS}

    @property
    def statuses(self) -> Counter[int]:
        """How often each status was answered."""
        with self._lock:
            return Counter(a.status for a in self.answers)

    def open(self, instances: Iterable[Instance]) -> list[Instance]:
        """Those that were not answered with success yet."""
        done = self.acknowledged
        return [i for i in instances if (i.sop_instance, i.digest) not in done]
