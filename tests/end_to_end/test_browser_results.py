"""Which result of a study opens in OHIF, and how another one does."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest

from dicomseg.encode.context import EncodeInput
from dicomseg.encode.result_folder import encode_all
from dicomseg.encode.uids import ResultKey
from dicomseg.measure.value_text import value_text
from tests.support.browser import Archive, Look
from tests.support.screens import READY, SHOWN, keep_picture

pytestmark = [pytest.mark.browser, pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(600)]

OLDER, NEWER = "2026-01-02 00:00:00", "2026-01-02 01:30:00"


@pytest.fixture(scope="module")
def both(
    archive: Archive, images: None, shown_run: tuple[EncodeInput, list[Path]]
) -> Iterator[tuple[EncodeInput, dict[str, bytes], dict[str, bytes]]]:
    """Two results of one series: the newer one, by another model, has another OC."""
    run = shown_run[0]
    oc = replace(run.result.measurements.main["OC"], uncertainty_mm=2.6)
    measurements = replace(run.result.measurements, main=run.result.measurements.main | {"OC": oc})
    newer = replace(
        run,
        result=replace(run.result, measurements=measurements),
        segmentation=replace(
            run.segmentation, engine=replace(run.segmentation.engine, version="2")
        ),
        key=ResultKey("newer"),
        created=run.created + timedelta(minutes=90),
    )
    files = encode_all(run), encode_all(newer)
    with archive.holding(*files):
        yield newer, *files


def _uids(files: dict[str, bytes], name: str) -> tuple[str, str]:
    ds = pydicom.dcmread(BytesIO(files[name]), stop_before_pixels=True)
    return str(ds.SeriesInstanceUID), str(ds.SOPInstanceUID)


def test_the_newest_opens_and_the_card_leads_to_the_other(
    both: Any, archive: Archive, look: Look, shown_run: tuple[EncodeInput, list[Path]]
) -> None:
    newer, older_files, newer_files = both
    older = shown_run[0]
    with look.page(archive.viewer.link(newer.result.source.study)) as page:
        first = page.evaluate(SHOWN)
        keep_picture("two-newest", page.screenshot())
        page.locator('[data-cy="lumbar-card"] a').click()
        page.wait_for_url("**&result=*")
        page.wait_for_function(READY, arg=4, timeout=120_000)
        page.wait_for_timeout(400)
        second = page.evaluate(SHOWN)
        keep_picture("two-other", page.screenshot())
    expected = [value_text(run.result.measurements.main["OC"]) for run in (newer, older)]
    assert expected[0] != expected[1]
    for found, value in zip((first, second), expected, strict=True):
        assert ["OC", value] in found["rows"]
        assert [f"OC {value}"] in [t for t, _ in found["texts"]]
        assert "2 results in this study" in found["card"]
        assert len(found["rows"]) == 4
    assert f"{NEWER}, label-coded 2 (newest): shown" in first["card"]
    assert f"{OLDER}, label-coded 1: shown" in second["card"]
    assert [link.split("result=")[1] for link in first["links"]] == [
        _uids(older_files, "measurements.dcm")[0]
    ]
    assert [link.split("result=")[1] for link in second["links"]] == [
        _uids(newer_files, "measurements.dcm")[0]
    ]
    assert look.console == []


@pytest.mark.parametrize(("name", "level"), [("seg.dcm", 0), ("midplane.dcm", 1)])
def test_any_series_or_object_of_a_result_opens_it(
    both: Any, archive: Archive, look: Look, name: str, level: int
) -> None:
    newer, older_files, _ = both
    study = newer.result.source.study
    seen = look(archive.viewer.link(study, _uids(older_files, name)[level]))
    assert f"{OLDER}, label-coded 1: shown" in seen.page["card"]
    assert seen.console == []


def test_an_unknown_result_opens_the_newest(both: Any, archive: Archive, look: Look) -> None:
    seen = look(archive.viewer.link(both[0].result.source.study, "1.2.3"))
    assert f"{NEWER}, label-coded 2 (newest): shown" in seen.page["card"]
