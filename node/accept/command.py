"""One test as the command runs it: destination, run, record, page."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path

from node.accept.identity import Run
from node.accept.page import page
from node.accept.peers import build_peer
from node.accept.port import Reporter
from node.accept.record import Record, keep, make_record
from node.accept.run import Acceptance
from node.accept.withdraw import withdraw_study
from node.config.sections import Config
from node.durable import private_folder
from node.phantom.study import OPTIONS
from node.store.layout import StateDirectory
from node.tls.credentials import Credentials, roles


def run_test(
    config: Config,
    destination: str,
    report: Reporter,
    *,
    withdraw: bool = False,
    options: tuple[str, ...] = OPTIONS,
) -> tuple[Record, Path]:
    """Test one destination; returns the record and where its page is.

    options: of the phantom's generator.

    Raises:
        PeerUnreachable: it does not respond; nothing is kept. Errors of configuration, phantom and model pass through.
    """
    credentials = Credentials(config.tls)
    credentials.prepare(roles(config))
    peer = build_peer(config, destination, credentials)
    run = Run.begin(datetime.now().astimezone())
    folder = StateDirectory(config.node.state).acceptance / run.name
    test = Acceptance(config, peer, run, folder, report)
    test.connect()
    private_folder(folder)
    test.perform(options, after=withdraw_study if withdraw else None)
    record = make_record(test, datetime.now().astimezone())
    return record, keep(record, folder, page(record))
