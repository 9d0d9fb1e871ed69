"""What of DICOMweb may be asked: known forms pass as they are, everything else is nothing."""

from __future__ import annotations

import pytest
from starlette.datastructures import Headers

from node.console.question import LONGEST, Question, question

U = "1.2.840.113619.2.1"


def _asked(path: str, query: str = "", **headers: str) -> Question | None:
    return question(path.encode("latin-1"), query.encode("latin-1"), Headers(headers))


@pytest.mark.parametrize(
    "path",
    [
        "/studies", f"/studies/{U}", f"/studies/{U}/metadata", f"/studies/{U}/series", f"/studies/{U}/instances",
        f"/studies/{U}/series/{U}/metadata", f"/studies/{U}/series/{U}/instances", f"/studies/{U}/series/{U}/thumbnail",
        f"/studies/{U}/series/{U}/instances/{U}", f"/studies/{U}/series/{U}/instances/{U}/frames/1",
        f"/studies/{U}/series/{U}/instances/{U}/frames/1,22,333", f"/studies/{U}/series/{U}/instances/{U}/rendered",
        f"/studies/{U}/series/{U}/instances/{U}/bulk/00420011",
        f"/studies/{U}/series/{U}/instances/{U}/bulkdata/54000100/1/54001010",
    ],
)  # fmt: skip
def test_readings_pass_as_they_are(path: str) -> None:
    asked = _asked(
        f"/dicom-web{path}",
        "includefield=00081030%2C00080060&limit=101",
        accept="application/dicom+json",
    )
    assert asked is not None
    assert asked.path == path
    assert asked.keys == (("includefield", "00081030,00080060"), ("limit", "101"))
    assert asked.accept == "application/dicom+json"


@pytest.mark.parametrize(
    "path",
    [
        "", "/", "/studies/", f"//studies/{U}", f"/studies//{U}", f"/studies/{U}/", f"/studies/{U}//series",
        f"/studies/{U}/../../system", f"/studies/{U}/%2e%2e/system", f"/studies/{U}%2fseries", f"/studies/{U}/..",
        "/studies/..", "/studies/1..2", "/studies/.1", "/studies/1.", f"/studies/{U}\\x", f"/studies/{U};a=b",
        f"/studies/{U}#x", f"/studies/{U}@evil.example", "/studies/\xb9.2", f"/studies/{U}\r\nHost: evil.example",
        f"/studies/{U}\n", f"/studies/{U}/\x00", "/series", "/instances", "/servers", "/system", f"/patients/{U}",
        f"/studies/{U}/delete", f"/studies/{U}/reject/113039", f"/studies/{U}/series/{U}/instances/{U}/frames/0x1",
        f"/studies/{U}/series/{U}/instances/{U}/bulk/..", f"/studies/{U}/series/{U}/instances/{U}/bulk/%2e%2e/x",
        "/studies/" + "1" * 65, "/studies/" + "1." * 3000 + "1",
    ],
)  # fmt: skip
def test_everything_else_is_no_question(path: str) -> None:
    assert _asked(f"/dicom-web{path}") is None


@pytest.mark.parametrize(
    "path", ["http://evil.example/dicom-web/studies", "/dicom-webx/studies", "/DICOM-WEB/studies", "dicom-web/studies"]
)  # fmt: skip
def test_nothing_leads_to_another_root(path: str) -> None:
    assert _asked(path) is None


@pytest.mark.parametrize(
    "query",
    ["limit=1%0d%0aX: y", "a%2fb=1", "a=%00", "a=%7f", "=1", "a" * 70 + "=1", "a=%ff", "&".join(f"k{n}=1" for n in range(60)),
     "q=" + "x" * LONGEST, "a=1\x85"],
)  # fmt: skip
def test_strange_keys_and_values_are_no_question(query: str) -> None:
    assert _asked("/dicom-web/studies", query) is None


def test_what_a_browser_takes_is_passed_on_only_as_kinds_of_media() -> None:
    multipart = 'multipart/related; type="application/octet-stream"; transfer-syntax=*'
    asked = _asked("/dicom-web/studies", accept=multipart)
    assert asked is not None
    assert asked.accept == multipart
    assert _asked("/dicom-web/studies", accept="a\r\nAuthorization: x") is None
    assert _asked("/dicom-web/studies", accept="x" * 600) is None


@pytest.mark.parametrize(
    ("path", "query", "studies"),
    [
        (f"/studies/{U}", "", {U}), (f"/studies/{U}/series", "StudyInstanceUID=9.9", {U, "9.9"}),
        ("/studies", "StudyInstanceUID=1.2,1.3", {"1.2", "1.3"}), ("/studies", "0020000d=1.2&0020000D=*", {"1.2", "*"}),
        ("/studies", "studyinstanceuid=", {""}), ("/studies", "StudyInstanceUID=1.2%5C3.4", {"1.2", "3.4"}),
    ],
)  # fmt: skip
def test_a_question_is_about_every_study_that_it_names(path: str, query: str, studies: set[str]) -> None:  # fmt: skip
    asked = _asked(f"/dicom-web{path}", query)
    assert asked is not None
    assert asked.studies == studies
    assert not asked.is_list
    known = {U, "1.2", "1.3", "3.4"}
    assert asked.is_about(known.__contains__) is (studies <= known)
    # A wildcard is no study, whatever is known.
    assert asked.is_about(lambda _: True) is ("*" not in studies and "" not in studies)


def test_a_list_of_studies_is_about_none() -> None:
    asked = _asked("/dicom-web/studies", "00100020=*")
    assert asked is not None
    assert asked.is_list
    assert not asked.is_about(lambda _: True)
