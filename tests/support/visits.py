"""Studies of patients with results: headers in the spool, `result.json` in folders, rows in a journal."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from node.journal.journal import Journal
from node.journal.rows import NewInstance, ResultRow, SeriesKey
from node.journal.states import SeriesEvent
from tests.support.mr_series import WriteSeries

WHO = {"PatientID": "PID-7", "PatientBirthDate": "19600102", "PatientSex": "F"}


def length(value: float | None, sd: float | None = 0.5, **changes: Any) -> dict[str, Any]:
    """One of `measurements` as `result.json` has it."""
    refusal = None if value is not None else {"code": "no_section", "text": "not visible"}
    made = {
        "value_mm": value, "uncertainty_mm": sd, "range_mm": None, "softness_mm": 0.1,
        "uncertainty_note": "Standard uncertainty (k = 1): contour 0.02, model 0.45", "side": "left",
        "from": "left psoas major", "to": "abdominal aorta", "method": "shortest distance", "note": "",
        "points_mm": None, "flags": [], "refusal": refusal,
    }  # fmt: skip
    return made | changes


def content(oc: float | None = 10.0, **changes: Any) -> dict[str, Any]:
    """Return a `result.json` with OC, DAA and one area."""
    area = {
        "unit": "mm2", "value": 900.0, "uncertainty": 8.0, "range": None, "side": "left", "method": "area",
        "from": "left psoas major", "to": "", "refusal": None, "flags": [],
        "uncertainty_note": "Standard uncertainty (k = 1): contour 8.0, model uncertainty unknown",
    }  # fmt: skip
    made: dict[str, Any] = {
        "schema": 1,
        "source": {"frame_of_reference": "", "spacing_mm": [0.9, 0.9, 0.9]},
        "model": {"name": "lumbar-l45", "version": "0.10.1", "digest": "d", "engine": "openvino", "precision": "float32"},
        "level": {"name": "L4/L5", "rule": "second disc above the sacrum", "centre_mm": [0.0, 0.0, 0.0],
                  "confidence": 0.8, "warnings": []},
        "measurements": {"OC": length(oc), "DAA": length(15.0, method="maximum Feret diameter")},
        "extra": {"psoas_area_left": area},
        "warnings": [],
    }  # fmt: skip
    return made | changes


@dataclass(frozen=True)
class Clinic:
    """A journal below `state`, and what came."""

    state: Path
    journal: Journal
    write: WriteSeries

    def receive(self, study: int, series: int = 1, **header: Any) -> SeriesKey:
        """Keep one object of a series."""
        key = SeriesKey(f"1.1.{study}", f"1.2.{study}.{series}")
        who = WHO | {"StudyInstanceUID": key.study, "Manufacturer": "M", "StationName": "MR1"}
        folder = self.state / "spool" / f"{study}.{series}"
        (path,) = self.write(folder, series=key.series, slices=1, **(who | header))
        digest = sha256(path.read_bytes()).hexdigest()
        uid = f"{key.series}.1"
        self.journal.instances.add(NewInstance(uid, "1.2", *key, digest, "", path, 1))
        return key

    def publish(self, key: SeriesKey, result: dict[str, Any], name: str = "") -> None:
        """Process a series whose result holds these values."""
        self.journal.series.advance(key, SeriesEvent.GEOMETRY_COMPLETE)
        self.process(key, result, name or f"r{key.series}")

    def process(self, key: SeriesKey, result: dict[str, Any], name: str) -> None:
        """Select and process a complete series."""
        folder = self.state / "results" / name
        folder.mkdir(parents=True)
        (folder / "result.json").write_text(json.dumps(result))
        self.journal.series.advance(key, SeriesEvent.RULES_ACCEPT)
        assert self.journal.series.claim(f"w/{name}") is not None
        row = ResultRow(name, folder, "m")
        self.journal.results.publish(key, f"w/{name}", row, [])

    def visit(self, study: int, day: str, result: dict[str, Any], **header: Any) -> SeriesKey:
        """Receive and process one study of a day."""
        key = self.receive(
            study, **({"AcquisitionDate": day, "AcquisitionTime": "101500"} | header)
        )
        self.publish(key, result)
        return key


@pytest.fixture
def clinic(
    tmp_path: Path, clock: Callable[[], float], write_series: WriteSeries
) -> Iterator[Clinic]:
    """A site without studies."""
    state = tmp_path / "state"
    state.mkdir()
    journal = Journal.open(state / "journal.sqlite", clock)
    yield Clinic(state, journal, write_series)
    journal.close()
