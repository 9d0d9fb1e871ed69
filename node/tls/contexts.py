"""TLS contexts of the BCP 195 profile (PS3.15 B.12): TLS 1.2 or later, forward secrecy, AES-GCM."""

from __future__ import annotations

import ssl
from typing import Final

from node.config.tls import TlsConfig
from node.errors import TlsError
from node.tls.files import blocks, check_pair, key_path, trusted_files
from node.tls.outgoing import ObservedSocket

CIPHERS: Final = "ECDHE+AESGCM"
"""Suites of TLS 1.2 that RFC 9325 section 4.2 recommends; those of TLS 1.3 are all allowed."""
OLDEST: Final = ssl.TLSVersion.TLSv1_2


def server_context(config: TlsConfig, *, mutual: bool) -> ssl.SSLContext:
    """Return the context for incoming connections; mutual: peers need a trusted certificate.

    Raises:
        TlsError: a file cannot be used.
    """
    context = _bounded(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
    # A ticket resumes a session without its certificate; a renewed list of authorities ends that here.
    context.num_tickets = 0
    _load_pair(context, config)
    if mutual:
        _load_trusted(context, config)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def client_context(config: TlsConfig) -> ssl.SSLContext:
    """Return the context for outgoing connections: the peer's certificate and host name are checked.

    Raises:
        TlsError: a file cannot be used.
    """
    context = _bounded(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    context.sslsocket_class = ObservedSocket
    _load_trusted(context, config)
    if config.identified:
        _load_pair(context, config)
    return context


def _bounded(context: ssl.SSLContext) -> ssl.SSLContext:
    context.minimum_version = OLDEST
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_TICKET | ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION
    return context


def _load_pair(context: ssl.SSLContext, config: TlsConfig) -> None:
    check_pair(config)
    try:
        context.load_cert_chain(config.certificate, key_path(config), password=_no_password)
    except ssl.SSLError as error:
        raise TlsError(_pair_fault(config, error)) from error
    except OSError as error:
        raise TlsError(f"[tls] certificate or private_key: {error.strerror}") from error


def _pair_fault(config: TlsConfig, error: ssl.SSLError) -> str:
    certificate, key = config.certificate, key_path(config)
    if error.reason == "KEY_VALUES_MISMATCH":
        return (
            f"[tls] private_key: {key} does not belong to certificate {certificate}; give the pair"
        )
    reason = (error.reason or "unreadable").replace("_", " ").lower()
    return f"[tls] certificate {certificate} with private_key {key}: {reason}; give another pair"


def _no_password() -> str:
    """Answer OpenSSL, which would ask on the terminal."""
    return ""


def _load_trusted(context: ssl.SSLContext, config: TlsConfig) -> None:
    for path in trusted_files(config):
        try:
            context.load_verify_locations(cadata="\n".join(blocks(path, "trusted")))
        except (ssl.SSLError, ValueError) as error:
            raise TlsError(
                f"[tls] trusted: {path}: a certificate in it is damaged; replace it"
            ) from error
