from __future__ import annotations

from node.console.sessions import LONGEST_S, MOST, Sessions


class Now:
    at = 0.0

    def __call__(self) -> float:
        return self.at


def test_a_login_ends_after_a_quiet_time_and_what_a_page_asks_by_itself_does_not_count() -> None:
    now = Now()
    sessions = Sessions(60.0, now)
    token = sessions.begin("olga")
    now.at = 50
    assert sessions.user(token) == "olga"
    now.at = 100
    assert sessions.user(token, active=False) == "olga"
    now.at = 111
    assert sessions.user(token, active=False) == ""
    assert sessions.user(token) == ""


def test_a_login_ends_after_a_working_day_however_it_is_used() -> None:
    now = Now()
    sessions = Sessions(3600.0, now)
    token = sessions.begin("olga")
    while now.at < LONGEST_S:
        assert sessions.user(token) == "olga"
        now.at += 1800
    now.at += 1
    assert sessions.user(token) == ""


def test_unknown_and_ended_logins_are_nobody() -> None:
    sessions = Sessions(60.0, Now())
    token = sessions.begin("olga")
    assert sessions.user("") == sessions.user("x") == sessions.user("\udc80") == ""
    sessions.end(token)
    assert sessions.user(token) == ""


def test_too_many_logins_end_the_oldest() -> None:
    sessions = Sessions(60.0, Now())
    first = sessions.begin("first")
    others = [sessions.begin("other") for _ in range(MOST)]
    assert sessions.user(first) == ""
    assert sessions.user(others[0]) == "other"
    assert len(set(others)) == MOST


def test_a_form_belongs_to_one_login() -> None:
    sessions = Sessions(60.0, Now())
    a, b = sessions.begin("olga"), sessions.begin("olga")
    assert sessions.is_form_token(a, sessions.form_token(a))
    assert not sessions.is_form_token(b, sessions.form_token(a))
    assert not sessions.is_form_token(a, "ä")
    assert not Sessions(60.0, Now()).is_form_token(a, sessions.form_token(a))
