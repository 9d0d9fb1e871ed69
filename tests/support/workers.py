"""A node with one worker."""

from __future__ import annotations

from pathlib import Path

from dicomseg.read import header as headers
from node.journal.journal import Journal
from node.journal.rows import NewInstance, SeriesRow
from node.journal.states import SeriesEvent
from tests.support.mr_series import KEY


def select(journal: Journal, paths: list[Path]) -> None:
    for path in paths:
        one = headers.read_instance(path)
        journal.instances.add(
            NewInstance(
                one.sop_instance_uid,
                one.sop_class_uid,
                one.study_uid,
                one.series_uid,
                one.digest,
                one.transfer_syntax_uid,
                path,
                1,
            )
        )
    journal.series.advance(KEY, SeriesEvent.GEOMETRY_COMPLETE)
    journal.series.advance(KEY, SeriesEvent.RULES_ACCEPT)


def claim(journal: Journal, name: str = "w1/1") -> SeriesRow:
    row = journal.series.claim(name)
    assert row is not None
    return row


CONFIG = """
[node]
ae_title = "NODE"
[[node.destination]]
name = "out"
kind = "folder"
path = "out"
[work]
heartbeat_seconds = 0.05
[track]
quiet_seconds = 3.0
"""
