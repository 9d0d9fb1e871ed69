"""Review in Chromium over a running service: the list, the follow-up, a confirmation and a rejection, to the PACS."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from pydicom import dcmread
from pydicom.uid import generate_uid

from tests.support.console_walk import (
    PASSWORD,
    SIZES,
    Shown,
    add_users,
    check_page,
    opened,
    web_section,
)
from tests.support.sites import Site
from tests.support.threaded_node import until

pytestmark = [pytest.mark.browser, pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(900)]

LATER: Final = "20260115"


def _of_the_same_patient(files: list[Path], like: Path, folder: Path) -> list[Path]:
    """Another study two years later, as one of the patient whom an object names."""
    folder.mkdir()
    who, study, series = dcmread(like), generate_uid(), generate_uid()
    made = []
    for number, file in enumerate(files):
        ds = dcmread(file)
        for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex"):
            setattr(ds, keyword, getattr(who, keyword))
        ds.StudyDate = ds.SeriesDate = ds.AcquisitionDate = ds.ContentDate = LATER
        ds.StudyInstanceUID, ds.SeriesInstanceUID = study, series
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        made.append(folder / f"{number}.dcm")
        ds.save_as(made[-1])
    return made


@pytest.fixture(scope="module")
def shown(
    module_site: Callable[..., Site], small_coded: Any, oracle_bundle: Path, tmp_path_factory: pytest.TempPathFactory
) -> Shown:  # fmt: skip
    """A console with two delivered studies of one patient."""
    if shutil.which("storescu") is None:
        pytest.skip("needs DCMTK (apt install dcmtk)")
    from training.phantom.study import StudyOptions, write_study

    out = tmp_path_factory.mktemp("second")
    second = write_study(out, 23, StudyOptions(coded=True, slices=64, matrix=160))
    files = sorted(p for p in second.rglob("*.dcm"))
    port, web = web_section(institution="Klinik Süd")
    site = module_site(bundle=oracle_bundle, with_pacs=False, extra=web)
    add_users(site, "a.meier")
    site.send(small_coded.files)
    site.wait(1)
    site.send(_of_the_same_patient(files, small_coded.files[0], out / "again"))
    site.wait(2)
    found = Shown(site, port)
    until(found.answers)
    until(lambda: len(site.journal.reviews.page(None, 9)) == 2)
    return found


@pytest.fixture
def visit(shown: Shown, chromium: Any) -> Callable[..., Any]:
    return partial(opened, shown, chromium)


def _verified(shown: Shown) -> list[Path]:
    return sorted((shown.site.folder / "delivered").rglob("verified.dcm"))


def test_a_physician_walks_from_the_list_to_a_verified_report_and_a_rejection(
    shown: Shown, visit: Any
) -> None:
    _look_at_pages(shown, visit)
    results = shown.site.folder / "state" / "results"
    before = {p: p.read_bytes() for p in results.rglob("*") if p.is_file()}
    with visit("a.meier") as first, visit("physician") as second:
        first.page.goto(f"{shown.url}/review")
        assert first.page.locator("tbody tr").count() == 2
        first.page.goto(f"{shown.url}/series/2")
        second.page.goto(f"{shown.url}/series/2")
        second.page.click("#confirm")
        assert first.page.locator("#followup").inner_text() == "Follow-up"
        assert first.page.locator(".plots svg").count() == 4
        assert "this study" in first.page.inner_text("main")
        first.page.focus("#confirm")
        first.page.keyboard.press("Enter")
        first.page.wait_for_url("**/confirm?result=*")
        question = first.page.inner_text("main")
        assert "in the name of a.meier, Klinik Süd, and sent to folder" in question
        check_page(first, "-confirm", "desk")
        first.page.focus("#password")
        first.page.keyboard.type(PASSWORD)
        first.page.keyboard.press("Enter")
        first.page.wait_for_url(f"{shown.url}/series/2")
        assert "Confirmed by a.meier, Klinik Süd" in first.page.inner_text("main")
        assert first.page.locator("#confirm").count() == 0
        # The other one had asked before, and is too late.
        second.page.fill("#password", PASSWORD)
        second.page.click("button.main")
        assert "a.meier confirmed this result at" in second.page.inner_text("main")
        until(lambda: len(_verified(shown)) == 1)
        expect = pytest.importorskip("playwright.sync_api").expect
        expect(first.page.locator("tr", has_text="verified")).to_contain_text("confirmed", timeout=60_000)  # fmt: skip
        check_page(first, "-confirmed", "desk")
        first.page.goto(f"{shown.url}/review")
        assert first.page.locator("tbody tr").count() == 1
    _check_verified(shown, [p for p in before if p.name == "measurements.dcm"])
    assert {p: p.read_bytes() for p in before} == before  # no result changed
    _reject_the_other(shown, visit)


def _check_verified(shown: Shown, unverified: list[Path]) -> None:
    ds = dcmread(_verified(shown)[0])
    (observer,) = ds.VerifyingObserverSequence
    assert (ds.VerificationFlag, observer.VerifyingObserverName, observer.VerifyingOrganization) == (
        "VERIFIED", "a.meier^", "Klinik Süd",
    )  # fmt: skip
    study = ds.PredecessorDocumentsSequence[0]
    old = study.ReferencedSeriesSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
    reports = [dcmread(p, stop_before_pixels=True) for p in unverified]
    assert old in {r.SOPInstanceUID for r in reports}


def _look_at_pages(shown: Shown, visit: Any) -> None:
    for size in SIZES:
        for path in ("/review", "/series/2"):
            with visit("physician", size) as seen:
                seen.page.goto(f"{shown.url}{path}")
                check_page(seen, f"-physician{path.replace('/', '-')}", size)


def _reject_the_other(shown: Shown, visit: Any) -> None:
    with visit("physician") as seen:
        seen.page.goto(f"{shown.url}/review")
        seen.page.locator("tbody a").last.click()
        seen.page.click("#reject")
        check_page(seen, "-reject", "desk")
        seen.page.select_option("#reason", "wrong_outline")
        seen.page.click("button.main")
        seen.page.wait_for_url("**/series/*")
        assert "Rejected by physician" in seen.page.inner_text("main")
        assert "outlines are wrong" in seen.page.inner_text("main")
        until(lambda: list((shown.site.folder / "delivered").rglob("rejection.dcm")) != [])
