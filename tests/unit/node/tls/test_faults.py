from __future__ import annotations

import ssl

import pytest

from node.tls.faults import handshake_fault


def _tls(reason: str) -> ssl.SSLError:
    error = ssl.SSLError(1, f"[SSL: {reason}] text (_ssl.c:1)")
    error.reason = reason
    return error


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (_tls("PEER_DID_NOT_RETURN_A_CERTIFICATE"), "it sent no certificate"),
        (_tls("TLSV13_ALERT_CERTIFICATE_REQUIRED"), "set [tls] certificate"),
        (_tls("SOME_NEW_REASON"), "TLS: some new reason"),
        (TimeoutError("timed out"), "no complete TLS handshake in time"),
        (ssl.SSLEOFError(8, "EOF occurred"), "it closed the connection inside the TLS handshake"),
        (ConnectionResetError(104, "Connection reset by peer"), "it closed the connection inside"),
        (OSError(113, "No route to host"), "No route to host"),
    ],
)
def test_reason_is_in_words_and_names_no_line_of_a_library(error: OSError, words: str) -> None:
    text = handshake_fault(error)
    assert words in text
    assert "_ssl.c" not in text
