"""Work on series given by hand: result folders, and sending them at once when asked."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from dicomseg.encode.uids import ResultKey
from dicomseg.errors import InputRefused
from dicomseg.segmentation import NotInView
from model.bundle.load import LoadedModel
from node import durable as folder
from node.config.sections import DestinationConfig
from node.deliver.port import Destination, Outcome, parcels_in
from node.errors import DamagedResult
from node.offline.gather import Judged
from node.store.results import read_result
from node.work.pipeline import Clock, Settings, key_of, process_series, settings_after

RESULT_FILE: Final = "result.json"

Did = Literal[
    "written", "already there", "not in view", "refused", "failed", "skipped", "incomplete"
]


@dataclass(frozen=True, slots=True)
class Done:
    """What became of one series; `result` is the content of its `result.json`."""

    study: str
    series: str
    name: str
    did: Did
    text: str = ""
    folder: Path | None = None
    seconds: float = 0.0
    result: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, eq=False)
class Workshop:
    """What processing needs: the model, what the objects carry, where they go, and the time."""

    model: LoadedModel
    settings: Settings
    out: Path
    clock: Clock
    force: bool = False


def not_worked_on(judged: Judged) -> Done:
    """A series that the verdict leaves alone, as a row of the table."""
    did: Did = "skipped" if judged.status == "eligible" else judged.status
    text = "; ".join(judged.verdict.reasons)
    return Done(judged.study, judged.candidate.series, judged.candidate.name, did, text)


def failed(judged: Judged, text: str) -> Done:
    """A series that ended in a fault, as a row of the table; the others of the batch are none the worse."""
    return Done(judged.study, judged.candidate.series, judged.candidate.name, "failed", text)


def work_on(judged: Judged, shop: Workshop, say: Callable[[str], None]) -> Done:
    """Process one eligible series into its result folder; the same input finds its first result."""
    started_s = time.perf_counter()
    one = judged.candidate

    def done(did: Did, text: str = "", place: Path | None = None) -> Done:
        result = json.loads((place / RESULT_FILE).read_text("utf-8")) if place else {}
        seconds = time.perf_counter() - started_s
        return Done(judged.study, one.series, one.name, did, text, place, seconds, result)

    earlier = results_in(shop.out, one.series)
    settings = settings_after(
        judged.grid, shop.model.info, shop.settings, earlier, forced=shop.force
    )
    place = shop.out / key_of(judged.grid, shop.model.info, settings).result_id
    if place.exists():
        return done("already there", place=place)
    try:
        processed = process_series(judged.grid, shop.model, settings, shop.clock, say)
    except InputRefused as error:
        return done("refused", str(error))
    if isinstance(processed, NotInView):
        return done("not in view", processed.reason)
    return done("written", place=folder.publish(shop.out, place.name, processed.files))


def results_in(out: Path, series: str) -> list[ResultKey]:
    """Results of a series that a folder of result folders holds, oldest first."""
    found = {p.parent.name: read_result(p.parent) for p in out.glob(f"*/{RESULT_FILE}")}
    mine = {n: r for n, r in found.items() if _series_of(r) == series}

    def age(name: str) -> tuple[int, str]:
        before = mine[name].get("predecessor")
        depth = age(before)[0] + 1 if before in mine else 0
        return depth, str(mine[name].get("created", ""))

    return [ResultKey(name) for name in sorted(mine, key=age)]


def _series_of(result: Mapping[str, Any]) -> str | None:
    """Series of a result; None where the file is of another program."""
    source = result.get("source")
    return source.get("series") if isinstance(source, dict) else None


@dataclass(frozen=True, slots=True)
class Sent:
    """What one destination answered for one result."""

    destination: str
    folder: Path
    outcomes: tuple[Outcome, ...]
    proof: str

    @property
    def accepted(self) -> bool:
        """Whether every object was taken."""
        return all(o.answer == "accepted" for o in self.outcomes)


def send_all(
    places: Sequence[Path], destinations: Sequence[tuple[DestinationConfig, Destination]]
) -> Iterator[Sent]:
    """Send every result to every destination, once, and ask for proof."""
    for place in places:
        for config, destination in destinations:
            try:
                parcels = parcels_in(place, config.objects)
            except (DamagedResult, OSError) as error:
                outcomes = tuple(Outcome(f, "permanent", str(error)) for f in config.objects)
                yield Sent(destination.name, place, outcomes, "unknown")
                continue
            outcomes = destination.send(parcels)
            taken = all(o.answer == "accepted" for o in outcomes)
            proof = destination.prove(parcels).value if taken else "unknown"
            yield Sent(destination.name, place, outcomes, proof)


def exit_code_of(rows: Sequence[Done]) -> int:
    """0 when there are results, 4 when a series was refused or failed, 3 when nothing was eligible."""
    if any(row.did in {"refused", "failed", "incomplete"} for row in rows):
        return 4
    return 0 if any(row.folder is not None for row in rows) else 3
