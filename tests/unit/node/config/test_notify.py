from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from node.config.notify import NotifyConfig

MAIL: dict[str, Any] = {
    "mail_host": "mail.example",
    "mail_from": "node@a.example",
    "mail_to": ("pacs@a.example",),
}


def test_nothing_by_default_and_both_channels() -> None:
    assert NotifyConfig().channels == ()
    both = NotifyConfig(**MAIL, webhook="https://chat.example/hook?x=1")
    assert both.channels == ("mail", "webhook")
    assert both.webhook_host == "chat.example"


@pytest.mark.parametrize(
    ("wrong", "expected"),
    [
        ({"mail_host": "m"}, "mail_host needs mail_from"),
        ({**MAIL, "mail_to": ()}, "mail_host needs mail_to"),
        ({**MAIL, "mail_user": "u"}, "a login needs mail_user and mail_password_file"),
        ({**MAIL, "mail_user": "u", "mail_password_file": "f", "mail_starttls": False}, "would be sent unencrypted"),
        ({**MAIL, "mail_to": ("a@b\nBcc: c@d.example",)}, "is not a mail address"),
        ({**MAIL, "mail_from": "a b@c.example"}, "is not a mail address"),
        ({"digest": "7:00"}, "is not a time of day"),
        ({"digest": "24:00"}, "is not a time of day"),
        ({"webhook": "ftp://x"}, "must be an address"),
        ({"webhook": "https://x/\r\nHost: y"}, "must be an address"),
        ({"webhook": "http://chat.example/x", "webhook_header_file": "f"}, "would be sent unencrypted"),
    ],
)  # fmt: skip
def test_what_cannot_work_or_would_leak(wrong: dict[str, Any], expected: str) -> None:
    with pytest.raises(ValidationError, match=expected):
        NotifyConfig(**wrong)


def test_own_machine_needs_no_encryption() -> None:
    NotifyConfig(**MAIL | {"mail_host": "localhost", "mail_user": "u", "mail_password_file": "f", "mail_starttls": False})  # fmt: skip
    NotifyConfig(webhook="http://[::1]:8080/x", webhook_header_file="f")
