from __future__ import annotations

import errno
import os
import socket

import pytest

from node.receive.listener import why_not_listening


@pytest.mark.parametrize(
    ("error", "remedy"),
    [
        (OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE)), "stop the program that uses it"),
        (PermissionError(errno.EACCES, os.strerror(errno.EACCES)), "CAP_NET_BIND_SERVICE"),
        (
            OSError(errno.EADDRNOTAVAIL, os.strerror(errno.EADDRNOTAVAIL)),
            "an address of this machine",
        ),
        (
            socket.gaierror(socket.EAI_NONAME, "Name or service not known"),
            "an address of this machine",
        ),
    ],
)
def test_a_port_that_cannot_be_used_says_what_to_do(error: OSError, remedy: str) -> None:
    message = why_not_listening("pacs.example", 104, error)
    assert message.startswith(f"cannot listen on pacs.example:104: {error.strerror}; ")
    assert remedy in message
