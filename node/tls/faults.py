"""What went wrong in a TLS handshake, in words for an administrator."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

_REASONS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "PEER_DID_NOT_RETURN_A_CERTIFICATE": "it sent no certificate",
        "NO_SHARED_CIPHER": "it offers no cipher suite of the BCP 195 profile",
        "UNSUPPORTED_PROTOCOL": "it offers no TLS 1.2 or later",
        "TLSV1_ALERT_UNKNOWN_CA": "it does not trust the authority of the node's certificate",
        "TLSV13_ALERT_CERTIFICATE_REQUIRED": "it wants a certificate of the node; set [tls] certificate",
        "SSLV3_ALERT_HANDSHAKE_FAILURE": "it refuses the handshake: no common cipher suite, or it wants a certificate",
        "SSLV3_ALERT_BAD_CERTIFICATE": "it refuses the node's certificate",
        "SSLV3_ALERT_CERTIFICATE_EXPIRED": "the node's certificate has expired, it says",
        "SSLV3_ALERT_CERTIFICATE_UNKNOWN": "it does not accept the node's certificate",
        "TLSV1_ALERT_PROTOCOL_VERSION": "it offers no TLS 1.2 or later",
        "WRONG_VERSION_NUMBER": "it does not speak TLS on this port",
        "HTTP_REQUEST": "it sent an HTTP request",
    }
)


_NO_LIST, _LIST_ENDED = 3, 12
"""X509_V_ERR_UNABLE_TO_GET_CRL and X509_V_ERR_CRL_HAS_EXPIRED of OpenSSL."""
_LISTS: Final[Mapping[int, str]] = MappingProxyType(
    {
        _NO_LIST: "its authority has no list in [tls] revoked; add the list",
        _LIST_ENDED: "the list of its authority in [tls] revoked has ended; replace the list",
    }
)


def handshake_fault(error: OSError) -> str:
    """Return why a handshake failed, about the peer as "it"; certificates are named by OpenSSL's words."""
    if isinstance(error, ssl.SSLCertVerificationError):
        if error.verify_code in _LISTS:
            return _LISTS[error.verify_code]
        return f"its certificate is refused: {error.verify_message.lower().rstrip('.')}"
    if isinstance(error, TimeoutError):
        return "no complete TLS handshake in time"
    if isinstance(error, ssl.SSLEOFError | ConnectionResetError | BrokenPipeError):
        return "it closed the connection inside the TLS handshake"
    if isinstance(error, ssl.SSLError):
        reason = error.reason or "unknown reason"
        return _REASONS.get(reason, f"TLS: {reason.replace('_', ' ').lower()}")
    return error.strerror or type(error).__name__
