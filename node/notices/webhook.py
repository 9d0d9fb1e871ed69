"""One JSON object by POST to a configured address; redirections are not followed, since they would carry the secret on."""

from __future__ import annotations

import http.client
import json
import ssl
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from node.config.notify import NotifyConfig
from node.config.secret_files import read_secret
from node.errors import NoticeUndelivered, SecretUnusable
from node.notices.text import Message

TIMEOUT_S: Final = 20.0
_MOST_BYTES: Final = 65_536


@dataclass(frozen=True, slots=True)
class Webhook:
    """The address, and the node's name in what is sent."""

    config: NotifyConfig
    node: str
    name: str = "webhook"

    @property
    def where(self) -> str:
        """Scheme, host and port: a path may hold a secret."""
        parts = urlsplit(self.config.webhook)
        return f"{parts.scheme}://{parts.netloc}"

    def send(self, message: Message, now: float) -> None:
        """Send one message; now: seconds since 1970.

        Raises:
            NoticeUndelivered: the server was not reached, or answered anything but 2xx.
        """
        try:
            status = self._post(message, now)
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise NoticeUndelivered(f"webhook {self.where}: {reason}; check the address") from error
        if not 200 <= status < 300:
            raise NoticeUndelivered(
                f"webhook {self.where}: answered {status}; check address and webhook_header_file"
            )

    def _post(self, message: Message, now: float) -> int:
        parts = urlsplit(self.config.webhook)
        body = {"node": self.node, "kind": message.kind, "subject": message.subject, "text": message.text, "at": now}  # fmt: skip
        headers = {"Content-Type": "application/json", **self._header()}
        connection = (
            http.client.HTTPSConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_S, context=ssl.create_default_context())
            if parts.scheme == "https"
            else http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=TIMEOUT_S)
        )  # fmt: skip
        try:
            path = f"{parts.path or '/'}{'?' + parts.query if parts.query else ''}"
            connection.request("POST", path, json.dumps(body).encode(), headers)
            answer = connection.getresponse()
            answer.read(_MOST_BYTES)
            return answer.status
        finally:
            connection.close()

    def _header(self) -> dict[str, str]:
        if not self.config.webhook_header_file:
            return {}
        name, colon, value = read_secret(self.config.webhook_header_file).partition(":")
        if not (colon and name.strip() and value.strip()):
            raise SecretUnusable(
                f'{self.config.webhook_header_file}: must hold a header as "Authorization: Bearer …"'
            )
        return {name.strip(): value.strip()}
