"""`python -m node.console.process`: the console as a process of its own, so that no page can cost the reception.

It ends when the service closes its standard input, or goes.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import socket
import ssl
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Final

import uvicorn

from dicomseg.errors import LumbarError
from node.audit.entry import AuditEvent, Entry, Outcome, Participant
from node.audit.step import open_trail
from node.config.file import read_config
from node.config.sections import Config
from node.console.app import application
from node.console.console import Console, Record
from node.console.deadline import Deadline
from node.errors import PortBusy, SecretUnusable
from node.event_log import EventLog
from node.events import ConsoleStarted, Log, StepFailed
from node.faults import describe_error, error_trace
from node.journal.journal import Journal
from node.store.layout import StateDirectory
from node.tls.credentials import Credentials

MOST_CONNECTIONS: Final = 200
"""Connections at the same time: 64 live pages, and what browsers keep open. A further one is answered 503."""
STOP_S: Final = 2
LONGEST_HEAD: Final = 32_768
_QUEUE: Final = 64


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until the standard input ends; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m node.console.process")
    parser.add_argument("--config", type=Path)
    config = read_config(parser.parse_args(arguments).config)
    log = EventLog(config.node.name)
    try:
        with listening(config) as listener:
            serve(config, listener, log.event)
    except LumbarError as error:  # the service starts it again; a line says why it ended
        log.event(StepFailed("console", str(error), ()))
        return error.exit_code
    return 0


def serve(config: Config, listener: socket.socket, log: Log) -> None:
    """Serve on a socket that listens."""
    path = StateDirectory(config.node.state).journal
    journal = Journal.reading(path, time.time)
    writing = cache(lambda: Journal.writing(path, time.time))
    credentials = Credentials(config.tls, log)
    console = Console.of(config, journal, writing, recorder(config, log), log, credentials)
    settings = uvicorn.Config(
        application(console), log_config=None, access_log=False, lifespan="on", ws="none",
        proxy_headers=False, server_header=False, limit_concurrency=MOST_CONNECTIONS,
        timeout_graceful_shutdown=STOP_S, h11_max_incomplete_event_size=LONGEST_HEAD, http=Deadline,
    )  # fmt: skip
    settings.load()
    if config.web.tls:
        settings.ssl = _renewing(credentials)
    server = uvicorn.Server(settings)
    threading.Thread(target=_end_with_input, args=(server,), name="input", daemon=True).start()
    if config.web.tls or config.web.archive:
        threading.Thread(target=_look, args=(server, credentials), name="tls", daemon=True).start()
    log(ConsoleStarted(config.web.host, int(listener.getsockname()[1])))
    asyncio.run(server.serve(sockets=[listener]))


def listening(config: Config) -> socket.socket:
    """Return a socket that listens on the configured address.

    Raises:
        PortBusy: the address is taken or is none of this machine.
    """
    host, port = config.web.host, config.web.port
    listener = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((host, port))
        listener.listen(_QUEUE)
    except (OSError, OverflowError) as error:
        listener.close()
        reason = getattr(error, "strerror", None) or error
        raise PortBusy(f"[web] {host}:{port}: {reason}; configure another host or port") from error
    return listener


def recorder(config: Config, log: Log) -> Record:
    """Return what writes into the audit trail; an entry that cannot be written is logged."""

    def record(event: AuditEvent, user: str, what: Mapping[str, object], how: Outcome) -> None:
        entry = Entry(time.time(), event, (Participant("user", user=user),), what, how)
        try:
            open_trail(config).append((entry,))
        except (OSError, SecretUnusable) as error:
            log(StepFailed("console", describe_error(error), error_trace(error)))

    return record


def _renewing(credentials: Credentials) -> ssl.SSLContext:
    """Return a context that hands every new connection to the one in use: a certificate is renewed without a restart."""
    first = credentials.context("server")

    def choose(connection: ssl.SSLObject, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = credentials.context("server")

    first.sni_callback = choose
    return first


def _look(server: uvicorn.Server, credentials: Credentials) -> None:
    while not server.should_exit:
        credentials.run_once()
        time.sleep(1.0)


def _end_with_input(server: uvicorn.Server) -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    server.should_exit = True


if __name__ == "__main__":
    sys.exit(main())
