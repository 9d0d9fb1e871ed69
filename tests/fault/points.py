"""The steps at which the node is killed, each named by a function of the product and a side of it.

When a function moves or is renamed, `test_points.py` says which line is to name its successor.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal

Role = Literal["serve", "worker", "companion"]
When = Literal["before", "after"]


@dataclass(frozen=True, slots=True)
class Point:
    """One step. at: `module:function` or `module:Class.method`. role: the process that takes the step."""

    step: str
    at: str
    when: When
    role: Role

    @property
    def key(self) -> str:
        """Name for a file."""
        return self.step.replace(" ", "-")


RECEIVING: Final = (
    Point("receive: after write", "node.store.incoming:Incoming.sync", "before", "serve"),
    Point("receive: before rename", "node.store.spool:move", "before", "serve"),
    Point("receive: before the row", "node.journal.instances:InstanceTable.add_all", "before", "serve"),
    Point("receive: within the commit", "node.journal.series:SeriesTable.count_stored", "after", "serve"),
    Point("receive: before the answer", "node.receive.dimse:response", "before", "serve"),
)  # fmt: skip
"""From the last byte of an object to its answer."""

TRACKING: Final = (
    Point("track: while deciding", "node.track.completeness:decide", "after", "serve"),
    Point("track: before its record", "node.journal.series:SeriesTable.advance", "before", "serve"),
    Point("track: after its record", "node.journal.series:SeriesTable.advance", "after", "serve"),
    Point("select: while judging", "dicomseg.read.reconstructions:prefer_reconstructions", "after", "serve"),
)  # fmt: skip
"""From the last object to *selected*."""

WORKING: Final = (
    Point("work: before segmenting", "model.segment:segment", "before", "worker"),
    Point("work: before measuring", "dicomseg.measure.measure:measure", "before", "worker"),
    Point("work: before encoding", "dicomseg.encode.result_folder:encode_all", "before", "worker"),
    Point("work: between two files", "node.durable:write_durably", "before", "worker"),
    Point("work: before rename", "node.durable:sync_folder", "before", "worker"),
    Point("work: before its record", "node.journal.results:ResultTable.publish", "before", "worker"),
    Point("work: after its record", "node.journal.results:ResultTable.publish", "after", "worker"),
)  # fmt: skip
"""From *selected* to *encoded*, in the order in which they are met."""

DRAWING: Final = (
    Point("draw: while drawing", "dicomseg.draw.drawing:draw_pictures", "before", "companion"),
)
"""In the process beside the worker."""

DELIVERING: Final = (
    Point("deliver: between two sends", "pynetdicom.association:Association.send_c_store", "before", "serve"),
    Point("deliver: after a send", "pynetdicom.association:Association.send_c_store", "after", "serve"),
    Point("deliver: before the record", "node.journal.deliveries:DeliveryTable.record_outcomes", "before", "serve"),
    Point("deliver: after the record", "node.journal.deliveries:DeliveryTable.record_outcomes", "after", "serve"),
    Point("deliver: before the proof", "node.deliver.dicom:Pacs.verify_stored", "before", "serve"),
    Point("deliver: after the proof", "node.deliver.dicom:Pacs.verify_stored", "after", "serve"),
)  # fmt: skip
"""From *encoded* to *delivered*."""

PURGING: Final = (
    Point("purge: before the mark", "node.journal.purges:PurgeTable.begin", "before", "serve"),
    Point("purge: before the files", "node.retention.purge:remove_files", "before", "serve"),
    Point("purge: before the results", "node.retention.purge:remove_folder", "before", "serve"),
    Point("purge: before the record", "node.journal.purges:PurgeTable.end", "before", "serve"),
    Point("purge: after the record", "node.journal.purges:PurgeTable.end", "after", "serve"),
)
"""From a series that may leave to *purged*."""

ALL: Final = (*RECEIVING, *TRACKING, *WORKING, *DRAWING, *DELIVERING, *PURGING)
