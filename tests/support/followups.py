"""Studies of patients whose results have the objects that a follow-up refers to, and the step that makes it, without a process."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import Comprehensive3DSRStorage, ExplicitVRLittleEndian, MRImageStorage

from dicomseg.encode.uids import Identity, ResultKey
from node.config.profiles import PROFILES, followup_files
from node.events import Event
from node.followup import make_process
from node.followup.step import FollowUpStep, Making
from node.journal.journal import Journal
from node.journal.rows import ResultRow, SeriesKey
from node.journal.states import SeriesEvent
from tests.support.clock import Clock
from tests.support.visits import WHO, Clinic, content

PACS = ("pacs", followup_files(PROFILES["dicom-viewer"]))
IDENTITY = Identity("lumbar-node", "lumbar-node", "0.0.1", "0", "ROOM")


def write_objects(folder: Path, key: SeriesKey, result_id: str, header: dict[str, Any]) -> None:
    """Write image and reports of a result: patient, study and UIDs, and what is asked of them."""
    uids = ResultKey(result_id)
    for role, sop_class, modality in (
        ("midplane", MRImageStorage, "MR"),
        ("measurements", Comprehensive3DSRStorage, "SR"),
        ("volumes", Comprehensive3DSRStorage, "SR"),
    ):
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPClassUID, ds.SOPInstanceUID = sop_class, uids.uid(f"{role}.instance")
        ds.StudyInstanceUID, ds.SeriesInstanceUID = key.study, uids.uid(f"{role}.series")
        ds.Modality, ds.SeriesNumber = modality, 4902
        ds.PatientName, ds.StudyID = "Test^Follow", "1"
        for keyword, value in (WHO | header).items():
            if not keyword.startswith(("Acquisition", "Manufacturer", "Station")):
                setattr(ds, keyword, value)
        ds.StudyDate = header.get("AcquisitionDate", "")
        ds.StudyTime, ds.AccessionNumber, ds.ReferringPhysicianName = "101500", "A1", None
        ds.save_as(folder / f"{role}.dcm", enforce_file_format=True)


@dataclass
class Site:
    """A clinic with a step that makes follow-ups for one destination."""

    clinic: Clinic
    clock: Clock = field(default_factory=Clock)
    events: list[Event] = field(default_factory=list)
    wanted: bool = True
    language: str | None = None
    ask: Callable[[object], Any] = make_process.answer
    destinations: tuple[tuple[str, tuple[str, ...]], ...] = (PACS,)
    _step: FollowUpStep | None = None

    @property
    def journal(self) -> Journal:
        return self.clinic.journal

    @property
    def step(self) -> FollowUpStep:
        """The step of this process."""
        if self._step is None:
            making = Making(
                self.wanted, self.clinic.state / "results", IDENTITY, self.language, self.destinations
            )  # fmt: skip
            ask = lambda question: self.ask(json.loads(json.dumps(question)))  # noqa: E731 - as the process is asked
            self._step = FollowUpStep(self.journal, making, self.clock, self.events.append, ask)
        return self._step

    def restart(self, **changes: Any) -> None:
        """Begin as a new process does, with another configuration."""
        for name, value in changes.items():
            setattr(self, name, value)
        self._step = None

    def look(self, times: int = 3) -> int:
        """Let the step look, with time between; returns how many follow-ups moved."""
        moved = 0
        for _ in range(times):
            moved += self.step.run_once()
            self.clock.pass_s(3.0)
        return moved

    def visit(
        self, study: int, day: str, oc: float | dict[str, Any] | None, series: int = 1, **header: Any
    ) -> SeriesKey:  # fmt: skip
        """Receive and process one study of a day."""
        header = {"AcquisitionDate": day, "AcquisitionTime": "101500"} | header
        key = self.clinic.receive(study, series, **header)
        self.journal.series.advance(key, SeriesEvent.GEOMETRY_COMPLETE)
        self.process(key, oc, f"{study:02d}{series:02d}{'a' * 28}", **header)
        return key

    def process(
        self, key: SeriesKey, oc: float | dict[str, Any] | None, result_id: str, **header: Any
    ) -> None:
        """Select and process a complete series."""
        folder = self.clinic.state / "results" / result_id
        folder.mkdir(parents=True)
        made = oc if isinstance(oc, dict) else content(oc)
        source = made["source"] | {"study": key.study, "series": key.series}
        (folder / "result.json").write_text(
            json.dumps(made | {"source": source, "result_id": result_id})
        )
        write_objects(folder, key, result_id, header)
        self.journal.series.advance(key, SeriesEvent.RULES_ACCEPT)
        assert self.journal.series.claim(f"w/{result_id}") is not None
        row = ResultRow(result_id, folder, "m")
        self.journal.results.publish(key, f"w/{result_id}", row, ["pacs"])

    def followups(self, key: SeriesKey) -> list[ResultRow]:
        """The follow-ups of a series, oldest first."""
        return [r for r in self.journal.results.all_of_series(key) if r.inputs]


@pytest.fixture
def followup_site(clinic: Clinic) -> Site:
    """A site without studies."""
    return Site(clinic)
