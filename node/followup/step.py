"""The step that makes follow-ups, one patient after the other, and outdates those whose results do not count any more.

It holds nothing that must survive a kill: what is wanted follows from the results, and the id of a follow-up from what
it compares, so that a folder that was published before its row is found again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from dicomseg.encode.uids import Identity, comparison_key
from node.backoff import wait_s
from node.clock import Clock
from node.config.profiles import followup_files
from node.config.sections import Config
from node.errors import FollowUpFailed, IllegalTransition
from node.events import FollowUpMade, FollowUpOutdated, Log, StepFailed
from node.faults import describe_error, error_trace
from node.followup.order import Order
from node.followup.plan import Patients, compared
from node.journal.journal import Journal
from node.journal.results import CurrentResult
from node.journal.rows import ResultRow, SeriesKey
from node.observe.identity import Patient
from node.program import program_version
from node.sandbox.child import Child, Silence
from node.store.layout import StateDirectory

LOOK_S: Final = 2.0
"""Time between two looks for results that came or went."""
FIRST_WAIT_S: Final = 30.0
LONGEST_WAIT_S: Final = 3600.0
"""Waits of a patient whose follow-up could not be made."""
MOST_S: Final = 120.0
"""Processor time for one follow-up; drawing and encoding take seconds."""
_MODULE: Final = "node.followup.make_process"
_SILENT: Final = {"late": f"making it took more than {MOST_S:g} s", "ended": "it ended its process"}
Ask = Callable[[object], Any]


@dataclass(frozen=True, slots=True)
class Making:
    """What of the configuration a follow-up is made with. destinations: name, and names of the files that it gets.

    wanted: `[results] followup`. language: of the page; None without one.
    """

    wanted: bool
    root: Path
    identity: Identity
    language: str | None
    destinations: tuple[tuple[str, tuple[str, ...]], ...]

    @classmethod
    def of(cls, config: Config) -> Making:
        """Take it from the configuration."""
        results = config.results
        identity = Identity(
            results.manufacturer, results.model_name, program_version(),
            results.device_serial_number, config.node.station,
        )  # fmt: skip
        return cls(
            results.followup,
            StateDirectory(config.node.state).results,
            identity,
            results.language if results.pictures else None,
            tuple((d.name, followup_files(d.sends)) for d in config.destinations),
        )

    def key(self, results: Sequence[str], predecessor: str) -> str:
        """Return the id of the follow-up that compares these results."""
        digest = repr((sorted(asdict(self.identity).items()), self.language))
        return comparison_key(
            results, digest, self.identity.software_version, predecessor
        ).result_id


@dataclass(slots=True)
class FollowUpStep:
    """Makes and outdates follow-ups."""

    journal: Journal
    making: Making
    clock: Clock
    log: Log
    ask: Ask
    end: Callable[[], None] = lambda: None
    _patients: Patients = field(init=False)
    _due: float = 0.0
    _stamp: tuple[int, ...] = ()
    _settled: dict[Patient, frozenset[str]] = field(default_factory=dict)
    _faults: dict[Patient, tuple[int, float, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._patients = Patients(self.journal)

    @classmethod
    def of(cls, config: Config, journal: Journal, clock: Clock, log: Log) -> FollowUpStep:
        """Build it with the process that draws and encodes; the process lives while there is something to make."""
        child = Child(_MODULE, MOST_S)
        return cls(journal, Making.of(config), clock, log, child.ask, child.close)

    def run_once(self) -> int:
        """Outdate and make what is wanted; returns how many follow-ups moved."""
        now = self.clock.monotonic()
        if now < self._due:
            return 0
        self._due = now + LOOK_S
        stamp = self.journal.followups.stamp()
        if stamp == self._stamp:
            return 0
        moved = self._outdate()
        if self.making.wanted:
            made, waits = self._make_all(now)
            moved += made
            if made:
                self.end()
            if waits:
                return moved
        self._stamp = stamp
        return moved

    def _outdate(self) -> int:
        outdated = self.journal.followups.outdate()
        for result_id in outdated:
            self.log(FollowUpOutdated(result_id))
        self._settled = {} if outdated else self._settled
        return len(outdated)

    def _make_all(self, now: float) -> tuple[int, bool]:
        """Make what is wanted; returns how many, and whether a patient waits for another look."""
        made, waits = 0, False
        patients = self._patients.read()
        self._settled = {p: s for p, s in self._settled.items() if p in patients}
        self._faults = {p: f for p, f in self._faults.items() if p in patients}
        for patient, results in patients.items():
            held = frozenset(c.result.result_id for c in results)
            if self._settled.get(patient) == held:
                continue
            if patient in self._faults and self._faults[patient][1] > now:
                waits = True
                continue
            try:
                done, moved = self._make(results)
            except Exception as error:  # noqa: BLE001 - one patient must not keep others from theirs
                self._put_off(patient, error, now)
                waits = True
                continue
            self._faults.pop(patient, None)
            made += moved
            waits |= not done
            if done:
                self._settled[patient] = held
        return made, waits

    def _make(self, results: Sequence[CurrentResult]) -> tuple[bool, int]:
        """Make the follow-up of one patient where it is not there; returns whether it is settled, and how many were made."""
        chosen = compared(results, [self._patients.examined(c) for c in results])
        if not chosen:
            return True, 0
        newest, names = chosen[-1], tuple(c.result.result_id for c in chosen)
        table = self.journal.followups
        if not table.is_at_rest(newest.key.study):
            return False, 0
        before = table.newest(newest.key.study)
        if before is not None and self._holds(before, names):
            if before.superseded_because == "" and not table.has_deliveries(before.result_id):
                self._publish(newest.key, before, "", _objects(before.folder))
            return True, 0
        predecessor = "" if before is None else before.result_id
        return self._made(chosen, names, predecessor)

    def _made(
        self, chosen: Sequence[CurrentResult], names: tuple[str, ...], predecessor: str
    ) -> tuple[bool, int]:
        making = self.making
        result_id = making.key(names, predecessor)
        created = datetime.fromtimestamp(self.clock.wall(), UTC).astimezone().isoformat()
        order = Order.of(
            making.root, result_id, predecessor, chosen, making.identity, making.language, created
        )
        answer = self.ask(asdict(order))
        if isinstance(answer, Silence):
            raise FollowUpFailed(_SILENT[answer.cause])
        if "errno" in answer:
            raise OSError(answer["errno"], "a file of a result cannot be read or written")
        if "refused" in answer:
            raise FollowUpFailed(str(answer["refused"]))
        row = ResultRow(result_id, making.root / result_id, "", inputs=names)
        try:
            self._publish(chosen[-1].key, row, predecessor, answer["made"])
        except IllegalTransition:  # a result was replaced meanwhile: the next look makes another
            return False, 0
        self.log(FollowUpMade(chosen[-1].key.series, result_id, len(names)))
        return True, 1

    def _publish(
        self, key: SeriesKey, row: ResultRow, predecessor: str, objects: Sequence[str]
    ) -> None:
        names = [n for n, files in self.making.destinations if set(files) & set(objects)]
        self.journal.followups.publish(key, row, predecessor, names)

    @staticmethod
    def _holds(before: ResultRow, names: tuple[str, ...]) -> bool:
        """Whether a follow-up is what is wanted, or a person took it back.

        It may also compare a result that was removed from the disk since.
        """
        if before.superseded_because == "withdrawn":
            return before.inputs == names
        there = before.superseded_because == "" and before.purged_at is None
        return there and set(names) <= set(before.inputs) and names[-1] == before.inputs[-1]

    def _put_off(self, patient: Patient, error: Exception, now: float) -> None:
        tries, _, known = self._faults.get(patient, (0, 0.0, ""))
        reason = describe_error(error)
        if reason != known:
            self.log(StepFailed("followup", reason, error_trace(error)))
        wait = wait_s(tries + 1, FIRST_WAIT_S, LONGEST_WAIT_S)
        self._faults[patient] = (tries + 1, now + wait, reason)


def _objects(folder: Path) -> list[str]:
    """Return the names of the objects of a follow-up."""
    return sorted(p.name for p in folder.glob("*.dcm"))
