"""Published results of a journal, and a delivery step that sends them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, SegmentationStorage

from node.config.destinations import FolderDestination
from node.deliver.step import DeliverStep
from node.events import Log, noop_log
from node.journal.journal import Journal
from node.journal.rows import DeliveryRow, NewInstance, ResultRow
from node.journal.states import SeriesEvent
from node.store.layout import StateDirectory
from tests.support.mr_series import KEY
from tests.support.result_folders import list_objects


def only_delivery(journal: Journal) -> DeliveryRow:
    (row,) = journal.deliveries.of_series(KEY)
    return row


CONFIG = FolderDestination(
    name="pacs",
    kind="folder",
    path=Path("unused"),
    objects=("seg.dcm",),
    patience_days=300 / 86_400,
    first_wait_seconds=5.0,
    max_wait_seconds=60.0,
)


def result_folder(root: Path, result_id: str, files: tuple[str, ...] = ("seg.dcm",)) -> Path:
    folder = root / "results" / result_id
    folder.mkdir(parents=True)
    for number, name in enumerate(files):
        ds = Dataset()
        ds.file_meta = FileMetaDataset()
        ds.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds.SOPClassUID, ds.SOPInstanceUID = SegmentationStorage, f"2.25.{len(result_id)}.{number}"
        ds.StudyInstanceUID, ds.SeriesInstanceUID = KEY
        ds.PatientName, ds.PatientID = "Test^Deliver", "T1"
        ds.save_as(folder / name, enforce_file_format=True)
    list_objects(folder)
    return folder


def facts_of(root: Path, result_id: str) -> NewInstance:
    return NewInstance(
        f"1.2.3.{result_id}", "1.2", *KEY, digest=result_id, transfer_syntax_uid="",
        path=root / result_id, bytes=1,
    )  # fmt: skip


def publish_result(
    journal: Journal,
    root: Path,
    result_id: str = "r1",
    names: tuple[str, ...] = ("pacs",),
    files: tuple[str, ...] = ("seg.dcm",),
) -> None:
    journal.instances.add(facts_of(root, result_id))
    begin_work(journal, root, result_id, names, files)


def begin_work(
    journal: Journal,
    root: Path,
    result_id: str,
    names: tuple[str, ...] = ("pacs",),
    files: tuple[str, ...] = ("seg.dcm",),
    folder: Path | None = None,
) -> None:
    """Publish a result of the series; folder: one that is written already."""
    journal.series.advance(KEY, SeriesEvent.GEOMETRY_COMPLETE)
    journal.series.advance(KEY, SeriesEvent.RULES_ACCEPT)
    row = journal.series.claim("token")
    assert row is not None
    folder = folder or result_folder(root, result_id, files)
    journal.results.publish(KEY, "token", ResultRow(result_id, folder, "digest"), names)


def deliver_step(
    journal: Journal, clock: Any, destination: Any, log: Log = noop_log, **changes: Any
) -> DeliverStep:
    config = CONFIG.model_copy(update=changes)
    state = StateDirectory(Path("unused"))
    return DeliverStep(journal, config, destination, clock, lambda: 0.0, state, log)


# ---- mixed answers -------------------------------------------------------------------------------

FOUR = ("seg.dcm", "midplane.dcm", "measurements.dcm", "volumes.dcm")
