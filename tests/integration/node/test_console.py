"""The console as a browser meets it: login, roles, forms, hostile texts; over a real journal, without a network."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage

from node.console.app import application
from node.console.console import Console
from node.console.guard import POLICY
from node.console.pages import ACTIONS, PAGES
from node.console.tries import FREE
from node.journal.journal import Journal
from node.journal.rows import ResultRow, SeriesKey
from node.journal.states import DeliveryEvent, SeriesEvent
from tests.support.consoles import HOST, PASSWORD, Browser, console_over
from tests.support.filled_journal import fill

KEY = SeriesKey("1.2.1", "1.2.3")
HOSTILE = "<script>alert(1)</script>'\"&\u202e{{7*7}}"


def _dicom(path: Path, description: str) -> Path:
    meta = FileMetaDataset()
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = MRImageStorage, "1.2.3.1"
    path.parent.mkdir(parents=True, exist_ok=True)
    ds = FileDataset(path, {}, preamble=b"\0" * 128, file_meta=meta)
    ds.SpecificCharacterSet = "ISO_IR 192"
    ds.SeriesDescription, ds.PatientID, ds.AccessionNumber = description, description, "26-4711"
    ds.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def console(tmp_path: Path, facts: Any, clock: Any) -> Console:
    """One series with a hostile header and a delivered result; everything in one folder."""
    state = tmp_path / "state"
    journal = Journal.open(state / "journal.sqlite", clock)
    file = _dicom(state / "spool" / "d1.dcm", HOSTILE)
    journal.instances.add(facts(1, path=file, calling_ae="MR<b>1"))
    journal.series.advance(KEY, SeriesEvent.GEOMETRY_COMPLETE)
    journal.series.advance(KEY, SeriesEvent.RULES_ACCEPT, detail={"reason": HOSTILE})
    journal.series.claim("t")
    folder = state / "results" / "r1"
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps(RESULT))
    journal.results.publish(KEY, "t", ResultRow("r1", folder, "d"), ["pacs"])
    journal.deliveries.record_outcomes(1, ["seg.dcm"], {})
    journal.deliveries.advance(1, DeliveryEvent.PEER_ACCEPTED)
    journal.deliveries.advance(1, DeliveryEvent.PROOF_FOUND)
    return console_over(journal, state)


RESULT = {
    "measurements": {"OC": {"value_mm": 12.3, "uncertainty_mm": 0.4, "range_mm": None, "side": "left", "note": HOSTILE, "flags": [], "refusal": None}},
    "extra": {}, "warnings": [{"text": HOSTILE}], "model": {"name": "m", "version": "1"},
    "level": {"name": "L4/L5", "confidence": 0.9},
}  # fmt: skip


@pytest.fixture
def browse(console: Console) -> Callable[[str], Browser]:
    """Return a browser in which a user of this role has logged in; all share one application."""
    app = application(console)

    def log_in(role: str = "") -> Browser:
        browser = Browser(app)
        if role:
            assert browser.log_in(role).status_code == 303
        return browser

    return log_in


def _paths() -> list[str]:
    return [p.replace("{id:int}", "1").replace("{name}", "pacs") for p in (*PAGES, *ACTIONS)]


# ---- who sees what -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", [*_paths(), "/series/1/picture.png", "/nothing", "/live", "/login"]
)
def test_every_answer_has_the_policy_and_nothing_is_shown_without_a_login(
    browse: Any, path: str
) -> None:
    answer = browse().get(path)
    assert answer.status_code in {200, 303, 401, 404}
    assert answer.headers["content-security-policy"] == POLICY
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "no-store"
    assert "server" not in answer.headers
    assert "1.2.3" not in answer.text
    if path in _paths():
        back = "" if path == "/" else f"?next={quote(path, safe='')}"
        assert (answer.status_code, answer.headers["location"]) == (303, f"/login{back}")


@pytest.mark.parametrize(
    ("given", "led"),
    [
        ("/series/1", "/series/1"), ("/viewer?StudyInstanceUIDs=1.2&result=1.3", "/viewer?StudyInstanceUIDs=1.2&result=1.3"),
        ("//evil.example", "/"), ("/\\evil.example", "/"), ("https://evil.example/", "/"), ("javascript:alert(1)", "/"),
        ("/%0d%0aset-cookie:a=b", "/"), ("/series\r\nx: y", "/"), ("/" + "a" * 5000, "/"), ("", "/"), ("/?q=\u202e", "/"),
    ],
)  # fmt: skip
def test_a_login_leads_back_to_a_page_of_this_console_alone(browse: Any, given: str, led: str) -> None:  # fmt: skip
    browser = browse()
    page = browser.get("/login", params={"next": given}).text
    assert ("evil.example" in page) is False
    form = {"name": "viewer", "password": PASSWORD, "next": given}
    answer = browser.post("/login", form)
    assert (answer.status_code, answer.headers["location"]) == (303, led)


def test_a_viewer_sees_states_and_nothing_of_a_patient(browse: Any) -> None:
    browser = browse("viewer")
    pages = [browser.get(p) for p in ("/", "/series", "/series/1", "/senders", "/disk", "/model")]
    assert [p.status_code for p in pages] == [200] * 6
    text = "".join(p.text for p in pages)
    assert "delivered" in text
    assert "26-4711" not in text
    assert "12.3" not in text
    assert browser.get("/series/1/picture.png").status_code == 403
    assert "for physicians and operators" in browser.get("/series", params={"q": "26-4711"}).text


def test_a_physician_sees_values_and_may_ask_for_nothing(browse: Any) -> None:
    browser = browse("physician")
    text = browser.get("/series/1").text
    assert "12.3 ± 0.4 mm" in text
    assert "26-4711" in text
    assert "Retry this series" not in text
    assert 'href="/series/1"' in browser.get("/series", params={"q": "26-4711"}).text
    assert "No such series" in browser.get("/series", params={"q": "26-4712"}).text
    for action in ("retry", "redeliver", "withdraw"):
        form = {"token": browser.token(), "seen": "9", "delivery": "1", "result": "r1"}
        assert browser.post(f"/series/1/{action}", form).status_code == 403


def test_hostile_texts_stay_texts(browse: Any) -> None:
    browser = browse("operator")
    for path in ("/series", "/series/1", "/senders", f"/series?q={HOSTILE}", f"/series?state={HOSTILE}&day={HOSTILE}"):  # fmt: skip
        text = browser.get(path).text
        assert "<script>alert" not in text
        assert "MR<b>" not in text
        assert "\u202e" not in text
        assert ">49" not in text
        assert not re.search(r"\son\w+=|style=|javascript:", text)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in browser.get("/series/1").text


@pytest.mark.parametrize(
    "path",
    ["/series/99", "/series/99999999999999999999999", "/series/-1", "/series/x", "/destinations/%2e%2e/echo",
     "/static/../app.py", "/static/%2e%2e/users.json", "/series/2/picture.png"],
)  # fmt: skip
def test_what_is_not_there_is_404(browse: Any, path: str) -> None:
    browser = browse("operator")
    answer = browser.get(path)
    if (
        answer.status_code == 200
    ):  # the question before a test; the test itself finds no such destination
        answer = browser.post(path, {"token": browser.token()})
    assert answer.status_code == 404


@pytest.mark.parametrize("query", ["before=x", "before=1-1&after=2-2", "day=2026-02-31", "state=none", "q=" + "9" * 3000, "before=999999999999.9999999-999999999999999999"])  # fmt: skip
def test_strange_questions_get_a_page(browse: Any, query: str) -> None:
    assert browse("operator").get(f"/series?{query}").status_code == 200


# ---- forms ---------------------------------------------------------------------------------------


def _seen(browser: Browser) -> str:
    found = re.search(r'name="seen" value="(\d+)"', browser.get("/series/1").text)
    assert found
    return found[1]


def test_a_get_changes_nothing_and_a_post_asks_the_journal(browse: Any, console: Console) -> None:
    browser, key = browse("operator"), KEY
    before = len(console.journal.series.events(key))
    seen = _seen(browser)
    page = browser.get(f"/series/1/redeliver?seen={seen}&delivery=1")
    assert "Send again to pacs" in page.text
    assert len(console.journal.series.events(key)) == before
    form = {"token": browser.token(), "seen": seen, "delivery": "1"}
    assert browser.post("/series/1/redeliver", form).status_code == 303
    assert console.journal.series.events(key)[-1].detail == {"by": "operator"}


def test_the_second_of_two_gets_409_and_hears_who_did_it(browse: Any, console: Console) -> None:
    first, second = browse("operator"), browse("operator")
    seen = _seen(second)
    form = {"seen": seen, "result": "r1"}
    done = first.post("/series/1/withdraw", {**form, "token": first.token()})
    assert done.status_code == 303
    late = second.post("/series/1/retry", {"seen": seen, "token": second.token()})
    assert late.status_code == 409
    assert "withdrawal" in late.text
    assert "by operator" in late.text
    assert [r.superseded_because for r in console.journal.results.of_series(KEY)] == ["withdrawn"]


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"}, {"origin": "null"}, {"origin": f"http://{HOST}.evil.example"},
        {"origin": f"http://{HOST}", "sec-fetch-site": "cross-site"}, {"sec-fetch-site": "same-site"}, {},
    ],
)  # fmt: skip
def test_a_form_of_another_origin_is_refused(browse: Any, console: Console, headers: dict[str, str]) -> None:  # fmt: skip
    browser = browse("operator")
    form = {"token": browser.token(), "seen": _seen(browser), "result": "r1"}
    answer = browser.ask("POST", "/series/1/withdraw", data=form, headers=headers)
    assert answer.status_code == 403
    assert console.journal.results.of_series(KEY)[0].superseded_because == ""


def test_a_form_needs_the_token_of_its_login(browse: Any) -> None:
    one, other = browse("operator"), browse("operator")
    for token in ("", other.token(), "x" * 64, "ä"):
        form = {"token": token, "seen": _seen(one), "result": "r1"}
        assert one.post("/series/1/withdraw", form).status_code == 403
    assert one.post("/series/1/withdraw", {"seen": "1"}).status_code == 403


@pytest.mark.parametrize(("method", "status"), [("PUT", 405), ("DELETE", 405), ("OPTIONS", 405)])
def test_other_methods_are_refused(browse: Any, method: str, status: int) -> None:
    assert browse("operator").ask(method, "/series/1").status_code == status


def test_a_large_form_and_a_strange_host_are_refused(browse: Any) -> None:
    browser = browse("operator")
    assert browser.post("/login", {"name": "x" * 20_000}).status_code == 413
    assert browser.get("/series", headers={"host": "evil.example"}).status_code == 400
    assert browser.get("/series", headers={"host": "localhost:8080"}).status_code == 200


# ---- logins --------------------------------------------------------------------------------------


def test_a_thousand_tries_cost_a_few_comparisons(
    browse: Any, console: Console, monkeypatch: pytest.MonkeyPatch
) -> None:
    compared: list[str] = []
    monkeypatch.setattr("node.console.auth.is_password", lambda _known, given: bool(compared.append(given)))  # fmt: skip
    browser = browse()
    codes = [browser.log_in("operator", f"guess number {n}").status_code for n in range(1000)]
    assert codes[:FREE] == [401] * FREE
    assert codes.count(429) > 900
    assert len(compared) < 30
    late = browser.log_in("operator")
    assert late.status_code == 429
    assert int(late.headers["retry-after"]) >= 1
    assert len(console.record.entries) < 30  # type: ignore[attr-defined]
    # From another place the same person still gets in.
    monkeypatch.undo()
    elsewhere = Browser(browser.transport.app, address="127.0.0.9")
    assert elsewhere.log_in("operator").status_code == 303


def test_logins_are_audited_and_end_with_the_log_out(browse: Any, console: Console) -> None:
    browser = browse("operator")
    browser.log_in("my secret password", "wrong wrong wrong")
    token = browser.token()
    stolen = dict(browser.cookies)
    assert browser.post("/logout", {"token": token}).status_code == 303
    assert browser.get("/series").status_code == 303
    browser.cookies.update(stolen)
    assert browser.get("/series").status_code == 303
    assert console.record.entries == [  # type: ignore[attr-defined]
        ("login", "operator", "success"), ("login", "unknown", "minor_failure"), ("logout", "operator", "success"),
    ]  # fmt: skip


def test_the_cookie_is_out_of_reach_of_scripts_and_other_sites(browse: Any) -> None:
    cookie = browse().log_in("operator").headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Path=/" in cookie


def test_a_user_who_is_removed_is_out_at_once(browse: Any, console: Console) -> None:
    browser = browse("operator")
    console.users.remove("operator")
    assert browser.get("/series").status_code == 303


# ---- behind a proxy ------------------------------------------------------------------------------


def test_a_header_counts_from_a_listed_address_only(console: Console) -> None:
    state = console.config.node.state
    behind = console_over(console.journal, state, auth="proxy", proxies=("10.0.0.5",))
    named = {"x-remote-user": "operator"}
    proxy, other = Browser.of(behind, address="10.0.0.5"), Browser.of(behind, address="10.0.0.6")
    assert proxy.get("/series", headers=named).status_code == 200
    assert proxy.get("/series").status_code == 403
    assert proxy.get("/series", headers={"x-remote-user": "stranger"}).status_code == 403
    assert other.get("/series", headers=named).status_code == 403
    assert other.get("/login", headers=named).status_code == 404


def test_behind_tls_of_a_listed_proxy_the_cookie_is_secure(console: Console) -> None:
    state = console.config.node.state
    behind = console_over(console.journal, state, proxies=("10.0.0.5",))
    form = {"name": "operator", "password": "correct horse battery staple"}
    answers = [
        Browser.of(behind, address=a).post("/login", form, x_forwarded_proto="https")
        for a in ("10.0.0.5", "10.0.0.6")
    ]
    cookies = [a.headers["set-cookie"] for a in answers]
    assert ["__Host-" in c and "Secure" in c for c in cookies] == [True, False]


# ---- many series ---------------------------------------------------------------------------------


def test_pages_of_series_lead_from_one_to_the_next(tmp_path: Path) -> None:
    journal = fill(tmp_path / "state" / "journal.sqlite", 120, 1)
    browser = Browser.of(console_over(journal, tmp_path / "state"))
    browser.log_in("operator")
    seen, path = [], "/series"
    while path:
        text = browser.get(path).text
        seen += [int(n) for n in re.findall(r'<tr role="row" id="s(\d+)"', text)]
        found = re.search(r'rel="next" href="([^"]+)"', text)
        path = found[1].replace("&amp;", "&") if found else ""
    assert seen == list(range(120, 0, -1))
    back = re.search(r'rel="prev" href="([^"]+)"', text)
    assert back
    newer = browser.get(back[1].replace("&amp;", "&")).text
    assert [int(n) for n in re.findall(r'<tr role="row" id="s(\d+)"', newer)] == list(
        range(70, 20, -1)
    )
