"""Who may ask: a bearer token or a name with its password, read from a file at every request.

So a changed secret counts without a restart. Nothing of it is logged.
"""

from __future__ import annotations

import base64
import binascii
import hmac
from dataclasses import dataclass
from typing import Final

from node.config.secret_files import read_secret
from node.errors import SecretUnusable

_BEARER: Final = "bearer "
_BASIC: Final = "basic "
CHALLENGE: Final = 'Basic realm="lumbar-node", charset="UTF-8", Bearer realm="lumbar-node"'


@dataclass(frozen=True, slots=True)
class Login:
    """file: path of a file with "Bearer TOKEN" or "user:password", or `credential:NAME`."""

    file: str

    def admits(self, authorization: str) -> bool:
        """Return whether an Authorization header has the secret.

        Raises:
            SecretUnusable: the file cannot be read or holds none; no request is let in.
        """
        secret = self._secret()
        bearer = secret.lower().startswith(_BEARER)
        given = _token(authorization) if bearer else _credentials(authorization)
        wanted = secret[len(_BEARER) :].strip() if bearer else secret
        return hmac.compare_digest(given.encode(), wanted.encode())

    def _secret(self) -> str:
        secret = read_secret(self.file)
        user, colon, password = secret.partition(":")
        token = secret.lower().startswith(_BEARER) and secret[len(_BEARER) :].strip()
        if not (token or (colon and user and password)):
            raise SecretUnusable(f'{self.file}: must hold "Bearer TOKEN" or "user:password"')
        return secret


def _token(authorization: str) -> str:
    return (
        authorization[len(_BEARER) :].strip() if authorization.lower().startswith(_BEARER) else ""
    )


def _credentials(authorization: str) -> str:
    if not authorization.lower().startswith(_BASIC):
        return ""
    try:
        return base64.b64decode(authorization[len(_BASIC) :].strip(), validate=True).decode()
    except (binascii.Error, ValueError):
        return ""
