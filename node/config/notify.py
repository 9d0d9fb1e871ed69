"""`[notify]`: messages to people by mail and webhook."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator, Field, model_validator

from cluster.address import is_loopback
from node.config.fields import Port, SecretFile, Section

_ADDRESS: Final = re.compile(r"[^\s@<>,;:\"\\]+@[A-Za-z0-9.-]+")
_TIME: Final = re.compile(r"([01]\d|2[0-3]):[0-5]\d")
_WEBHOOK: Final = re.compile(r"(https?)://(\[[0-9A-Fa-f:]+\]|[A-Za-z0-9.-]+)(:\d{1,5})?(/[!-~]*)?")


def _address(value: str) -> str:
    if value and not (_ADDRESS.fullmatch(value) and value.isascii()):
        raise ValueError(f'"{value}" is not a mail address; write e.g. "pacs@hospital.example"')
    return value


def time_of_day(value: str) -> str:
    """Return a time of day as "07:00", or ""; raises `ValueError` for anything else."""
    if value and not _TIME.fullmatch(value):
        raise ValueError(f'"{value}" is not a time of day; write e.g. "07:00"')
    return value


def _webhook(value: str) -> str:
    if value and not _WEBHOOK.fullmatch(value):
        raise ValueError('must be an address as "https://host/path"')
    return value


Address = Annotated[str, AfterValidator(_address)]


class NotifyConfig(Section):
    """`[notify]`: messages at a new kind of fault and its end, and a daily digest, by mail and webhook. Never patient data."""

    digest: Annotated[str, AfterValidator(time_of_day)] = Field(
        default="07:00", description="Local time of the daily digest; empty = none."
    )
    mail_host: str = Field(default="", description="Host of the mail server (SMTP); empty = no mail.")  # fmt: skip
    mail_port: Port = Field(default=587, description="Port of the mail server.")
    mail_starttls: bool = Field(
        default=True, description="Encrypt by STARTTLS, and send nothing to a server that cannot."
    )
    mail_user: str = Field(default="", description="User name at the mail server; empty = no login.")  # fmt: skip
    mail_password_file: SecretFile = Field(
        default="", description='File with the password, or "credential:NAME" of systemd.'
    )
    mail_from: Address = Field(default="", description="Sender of the mails.")
    mail_to: tuple[Address, ...] = Field(default=(), description="Receivers of the mails.")
    webhook: Annotated[str, AfterValidator(_webhook)] = Field(
        default="", description="Address that gets each message as JSON by POST; empty = none."
    )
    webhook_header_file: SecretFile = Field(
        default="",
        description='File with a header to send along, as "Authorization: Bearer …"; empty = none.',
    )

    @model_validator(mode="after")
    def _complete(self) -> NotifyConfig:
        if self.mail_host:
            missing = [key for key in ("mail_from", "mail_to") if not getattr(self, key)]
            if missing:
                raise ValueError(f"mail_host needs {missing[0]}; give both, or leave mail_host empty")  # fmt: skip
            if bool(self.mail_user) != bool(self.mail_password_file):
                raise ValueError("a login needs mail_user and mail_password_file; give both or none")  # fmt: skip
            if self.mail_user and not self.mail_starttls and not is_loopback(self.mail_host):
                raise ValueError("the password would be sent unencrypted; set mail_starttls = true")
        clear = self.webhook.startswith("http://")
        if clear and self.webhook_header_file and not is_loopback(self.webhook_host):
            raise ValueError("the header would be sent unencrypted; use an https address")
        return self

    @property
    def webhook_host(self) -> str:
        """Host of the webhook's address, "" without one."""
        match = _WEBHOOK.fullmatch(self.webhook)
        return match[2].strip("[]") if match else ""

    @property
    def channels(self) -> tuple[str, ...]:
        """What is configured: "mail", "webhook"."""
        return tuple(n for n, on in (("mail", self.mail_host), ("webhook", self.webhook)) if on)
