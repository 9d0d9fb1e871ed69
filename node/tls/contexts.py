"""TLS contexts of the BCP 195 profile (PS3.15 B.12): TLS 1.2 or later, forward secrecy, AES-GCM."""

from __future__ import annotations

import ssl
from pathlib import Path

from cluster.certificates import bounded, load_pair, load_trusted
from node.config.tls import TlsConfig
from node.errors import TlsError
from node.tls.files import in_words, key_path, revocation_lists, trusted_files
from node.tls.outgoing import ObservedSocket


def server_context(config: TlsConfig, *, mutual: bool) -> ssl.SSLContext:
    """Return the context for incoming connections; mutual: peers need a trusted certificate.

    Raises:
        TlsError: a file cannot be used.
    """
    context = bounded(ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER))
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
    context = bounded(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT))
    context.sslsocket_class = ObservedSocket
    _load_trusted(context, config)
    if config.identified:
        _load_pair(context, config)
    return context


def _load_pair(context: ssl.SSLContext, config: TlsConfig) -> None:
    with in_words():
        load_pair(context, Path(config.certificate), key_path(config))


def _load_trusted(context: ssl.SSLContext, config: TlsConfig) -> None:
    with in_words():
        load_trusted(context, trusted_files(config))
    if config.revoked:
        _load_revoked(context, config)


def _load_revoked(context: ssl.SSLContext, config: TlsConfig) -> None:
    """Refuse certificates that a list names, and those of whose authority there is no list that is in force."""
    revocation_lists(config)
    try:
        context.load_verify_locations(cafile=config.revoked)
    except (ssl.SSLError, OSError) as error:
        raise TlsError(
            f"[tls] revoked: {config.revoked}: a list in it is damaged; replace it"
        ) from error
    context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
