"""The series of results: whatever object of one a PACS lists, it is known as the node's own."""

from __future__ import annotations

from pathlib import Path

from dicomseg.encode.uids import ResultKey
from node.journal.journal import Journal
from node.pull.own import own_series
from tests.support.deliveries import publish_result


def test_series_of_every_object_of_a_result(journal: Journal, tmp_path: Path) -> None:
    publish_result(journal, tmp_path, files=("seg.dcm",))
    (row,) = journal.series.in_states()
    (result,) = journal.results.of_series(row.key)
    own = own_series(journal, row.key.study)
    key = ResultKey(result.result_id)
    assert {key.uid("midplane.series"), key.uid("seg.labelmap.series")} <= own
    assert own_series(journal, "1.9.9") == frozenset()
