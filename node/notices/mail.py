"""Mail by SMTP, from the standard library; every operation ends within seconds."""

from __future__ import annotations

import smtplib
import socket
import ssl
from dataclasses import dataclass
from email.message import EmailMessage
from email.utils import format_datetime, make_msgid
from typing import Final

from node.clock import local_time
from node.config.notify import NotifyConfig
from node.config.secret_files import read_secret
from node.errors import NoticeUndelivered
from node.notices.text import Message
from node.tls.faults import handshake_fault

TIMEOUT_S: Final = 20.0
"""Longest wait for one answer of the mail server."""


@dataclass(frozen=True, slots=True)
class Mail:
    """The mail server and the receivers."""

    config: NotifyConfig
    name: str = "mail"

    @property
    def where(self) -> str:
        """Host and port, for messages."""
        return f"{self.config.mail_host}:{self.config.mail_port}"

    def send(self, message: Message, now: float) -> None:
        """Send one message; now: seconds since 1970.

        Raises:
            NoticeUndelivered: the server was not reached, refused, or cannot encrypt.
        """
        config = self.config
        try:
            with smtplib.SMTP(
                config.mail_host, config.mail_port, socket.gethostname(), TIMEOUT_S
            ) as server:
                if config.mail_starttls:
                    server.starttls(context=ssl.create_default_context())
                if config.mail_user:
                    server.login(config.mail_user, read_secret(config.mail_password_file))
                server.send_message(_as_mail(config, message, now))
        except smtplib.SMTPNotSupportedError as error:
            raise NoticeUndelivered(
                f"mail to {self.where}: the server offers no STARTTLS or no login; set mail_starttls or mail_user"
            ) from error
        except smtplib.SMTPResponseException as error:
            raise NoticeUndelivered(
                f"mail to {self.where}: refused with {error.smtp_code}; check mail_user, mail_from and mail_to"
            ) from error
        except ssl.SSLError as error:
            raise NoticeUndelivered(
                f"mail to {self.where}: {handshake_fault(error)}; mail_host must be the name in its certificate, and"
                " this machine must trust the authority (update-ca-certificates)"
            ) from error
        except (OSError, smtplib.SMTPException, ValueError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise NoticeUndelivered(
                f"mail to {self.where}: {reason}; check mail_host and mail_port"
            ) from error


def _as_mail(config: NotifyConfig, message: Message, now: float) -> EmailMessage:
    mail = EmailMessage()
    mail["Subject"], mail["From"] = message.subject, config.mail_from
    mail["To"] = ", ".join(config.mail_to)
    mail["Date"] = format_datetime(local_time(now))
    mail["Message-ID"] = make_msgid(domain=config.mail_from.partition("@")[2])
    mail["Auto-Submitted"] = "auto-generated"  # RFC 3834: no out-of-office answers
    mail.set_content(message.text)
    return mail
