"""What the page of corrections says of each."""

from __future__ import annotations

import pytest

from tests.support.consoles import Browser, console_over
from tests.support.reviewing import ACCEPTED, Review


def _page(review: Review, who: str = "physician") -> str:
    browser = Browser.of(console_over(review.kept.journal, review.kept.state))
    browser.log_in(who)
    return " ".join(browser.get("/corrections").text.split())


@pytest.mark.parametrize(("who", "sees"), [("physician", True), ("viewer", False)])
def test_a_case_names_what_was_not_sent_and_values_for_who_may_see_them(
    review: Review, who: str, sees: bool
) -> None:
    review.send(1, of=review.kept.deliver(1))
    review.run()
    (folder,) = review.folders("accepted")
    page = _page(review, who)
    assert "Not sent, as in the result: n4" in page
    assert f'case <span class="uid">{folder.name}</span>' in page
    assert ("9.8 mm → missing" in page) == sees


def test_a_refusal_gives_its_reason_and_what_a_row_may_not_hold_is_not_shown(
    review: Review,
) -> None:
    review.says = {"refused": {"code": "other-grid", "text": "its frames lie <off>", "is_correction": True}}  # fmt: skip
    review.send(1, of=review.kept.deliver(1))
    review.run()
    page = _page(review)
    assert "its frames lie &lt;off&gt;" in page
    assert "case <span" not in page
    review.says = ACCEPTED | {"accepted": {"unchanged": "no list"}}
    review.send(2, of=review.kept.deliver(2))
    review.run()
    page = _page(review)
    assert "Every structure" in page
    assert "no list" not in page
