from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest

from node.deliver.port import ResultFile
from node.deliver.stow import asked_wait_s, judge_response

FILES = tuple(
    ResultFile(Path(f"{name}.dcm"), "", "1.2", uid)
    for name, uid in (("seg", "2.25.1"), ("volumes", "2.25.2"))
)


def _item(uid: str, **codes: int) -> dict[str, Any]:
    tags = {"reason": "00081197", "warning": "00081196"}
    more = {tags[name]: {"vr": "US", "Value": [code]} for name, code in codes.items()}
    return {"00081155": {"vr": "UI", "Value": [uid]}, **more}


def _body(taken: list[Any], failed: list[Any]) -> dict[str, Any]:
    return {
        "00081199": {"vr": "SQ", "Value": taken},
        "00081198": {"vr": "SQ", "Value": failed},
    }


BOTH = [_item("2.25.1"), _item("2.25.2")]


@pytest.mark.parametrize(
    ("code", "body", "expected"),
    [
        (200, _body(BOTH, []), ["accepted", "accepted"]),
        (202, _body([_item("2.25.1", warning=0xB000), BOTH[1]], []), ["accepted", "accepted"]),
        (202, _body(BOTH[:1], [_item("2.25.2", reason=0xA700)]), ["accepted", "transient"]),
        (202, _body(BOTH[:1], [_item("2.25.2", reason=0xC000)]), ["accepted", "permanent"]),
        (200, _body([], [_item("2.25.1"), BOTH[1]]), ["permanent", "permanent"]),
        (409, _body([], [_item(u, reason=0x0110) for u in ("2.25.1", "2.25.2")]), ["transient"] * 2),
        (409, _body(BOTH[:1], [_item("2.25.2", reason=0x0122)]), ["accepted", "permanent"]),
        (200, _body(BOTH[:1], []), ["accepted", "transient"]),
        (200, {}, ["transient", "transient"]),
        (200, [], ["transient", "transient"]),
        (200, {"00081199": {"Value": [7]}}, ["transient", "transient"]),
        (413, {}, ["permanent", "permanent"]),
        (503, {}, ["transient", "transient"]),
        (401, {}, ["transient", "transient"]),
    ],
)  # fmt: skip
def test_the_body_says_what_became_of_each_object(
    code: int, body: Any, expected: list[str]
) -> None:
    answer = httpx.Response(code, json=body)
    found = [o.disposition for o in judge_response(FILES, answer, "http://pacs")]
    assert found == expected


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({}, 0.0),
        ({"Retry-After": "120"}, 120.0),
        ({"Retry-After": " 7 "}, 7.0),
        ({"Retry-After": "Tue, 01 Dec 2026 02:10:00 GMT", "Date": "Tue, 01 Dec 2026 02:00:00 GMT"}, 600.0),
        ({"Retry-After": "Tue, 01 Dec 2026 02:00:00 GMT", "Date": "Tue, 01 Dec 2026 02:10:00 GMT"}, 0.0),
        ({"Retry-After": "Tue, 01 Dec 2026 02:10:00 -0000", "Date": "Tue, 01 Dec 2026 02:00:00 GMT"}, 600.0),
        ({"Retry-After": "Tue, 01 Dec 2026 02:10:00 GMT"}, 0.0),
        ({"Retry-After": "Tue, 01 Dec 2026 02:10:00 GMT", "Date": "noon"}, 0.0),
        ({"Retry-After": "-5"}, 0.0),
        ({"Retry-After": "nan"}, 0.0),
        ({"Retry-After": "1e9"}, 0.0),
        ({"Retry-After": "9" * 400}, 31_622_400.0),
        ({"Retry-After": "\u0665".encode()}, 0.0),
    ],
)  # fmt: skip
def test_the_wait_that_a_server_asks_for(headers: Any, expected: float) -> None:
    answer = httpx.Response(503, headers=headers)
    assert asked_wait_s(answer) == expected
    assert {o.wait_s for o in judge_response(FILES, answer, "http://pacs")} == {expected}


def test_only_what_is_tried_again_waits_as_long_as_the_server_asks() -> None:
    body = _body(BOTH[:1], [_item("2.25.2", reason=0xA700)])
    answer = httpx.Response(202, json=body, headers={"Retry-After": "30"})
    assert [o.wait_s for o in judge_response(FILES, answer, "http://pacs")] == [0.0, 30.0]


@pytest.mark.parametrize(
    ("code", "words"),
    [(302, "set url to where it leads"), (401, "check authorization_file"), (404, "check the URL")],
)
def test_what_an_administrator_can_mend_is_said(code: int, words: str) -> None:
    (outcome, _) = judge_response(FILES, httpx.Response(code), "http://pacs")
    assert words in outcome.text
    assert (outcome.disposition, outcome.status) == ("transient", f"HTTP {code}")
