"""A study recorded for the wrong patient: the archive gets the right result, and takes the wrong one back."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread

from node.demo.pacs import Pacs
from node.journal.rows import DeliveryRow

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(600)]


def _corrected(files: list[Path], out: Path) -> list[Path]:
    """The same objects, as an archive sends them after it put them right."""
    out.mkdir()
    for file in files:
        ds = dcmread(file)
        ds.PatientName, ds.PatientID = "Right^Person", "P-2"
        ds.save_as(out / file.name)
    return sorted(out.iterdir())


def _confirmed(here: Any, kind: str, count: int) -> list[DeliveryRow]:
    deadline = time.monotonic() + 240
    while time.monotonic() < deadline:
        rows = [
            d
            for d in here.journal.deliveries.in_states("confirmed", "dead")
            if (d.kind, d.state) == (kind, "confirmed")
        ]
        if len(rows) == count:
            return rows
        time.sleep(0.2)
    raise AssertionError(here.journal.counts())


def test_corrected_patient_has_a_new_result_and_the_old_one_is_rejected_in_the_archive(
    site: Callable[..., Any], small_coded: Any, oracle_bundle: Path, tmp_path: Path
) -> None:
    here = site(bundle=oracle_bundle, with_pacs=True, destination="withdraw = true\n")
    here.send(small_coded.files, to_pacs=False)
    _confirmed(here, "result", 1)
    here.send(_corrected(small_coded.files, tmp_path / "corrected"), to_pacs=False)
    (withdrawal,) = _confirmed(here, "withdrawal", 1)
    _confirmed(here, "result", 2)
    (row,) = here.wait(1)
    assert row.state == "delivered"
    old, new = here.journal.results.of_series(row.key)
    assert (old.superseded_by, old.superseded_because) == (new.result_id, "corrected_identity")
    assert withdrawal.result_id == old.result_id
    (file,) = (here.folder / "state" / "withdrawals").glob("*/rejection.dcm")
    note = dcmread(file)
    assert note.ConceptNameCodeSequence[0].CodeValue == "113038"
    rejected = {
        item.ReferencedSOPInstanceUID
        for series in note.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
        for item in series.ReferencedSOPSequence
    }
    sent = {
        name: dcmread(old.folder / name) for name in here.found(row).files if name.endswith(".dcm")
    }
    assert rejected == {ds.SOPInstanceUID for ds in sent.values()}
    assert note.PatientID == sent["seg.dcm"].PatientID != "P-2"
    assert here.found(row).sets["seg.dcm"].PatientID == "P-2"
    pacs = Pacs(here.ports.pacs_url)
    try:
        assert pacs.holds(note.SOPInstanceUID)
    finally:
        pacs.close()
