"""What the pages are made of, and who looks at them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from starlette.datastructures import FormData, QueryParams

from model.bundle.card import default_path
from node.audit.entry import AuditEvent, Outcome
from node.config.sections import Config
from node.console.echo_tests import EchoTests
from node.console.kept import Kept
from node.console.openings import Openings
from node.console.sessions import Sessions
from node.console.tries import Tries
from node.console.users import Role, Users
from node.events import Log, noop_log
from node.journal.journal import Journal
from node.models.change import ChangeAsked, change_bundle
from node.observe.followup import MAX_SEARCHED
from node.observe.identity import remembering
from node.observe.patients import Read
from node.store.layout import StateDirectory
from node.tls.credentials import Credentials

Change = Callable[[ChangeAsked], str]
"""Changes the bundle in service; returns its name and version."""
Record = Callable[[AuditEvent, str, Mapping[str, object], Outcome], None]
"""Writes into the audit trail what a user of this name did."""


def record_nothing(_event: AuditEvent, _user: str, _what: Mapping[str, object], _how: Outcome) -> None:  # fmt: skip
    """Write nothing: for a console without an audit trail."""


@dataclass(frozen=True, slots=True)
class Console:
    """The parts that pages are made of.

    journal: for questions. writing: opens the journal for what a person asks for. wall: seconds since 1970.
    credentials: of [tls], looked at again while the console runs. examined: header of a stored object.
    """

    config: Config
    journal: Journal
    writing: Callable[[], Journal]
    users: Users
    sessions: Sessions
    tries: Tries = field(default_factory=Tries)
    kept: Kept = field(default_factory=Kept)
    echo_tests: EchoTests = field(default_factory=EchoTests)
    openings: Openings = field(default_factory=Openings)
    record: Record = record_nothing
    log: Log = noop_log
    wall: Callable[[], float] = time.time
    examined: Read = field(default_factory=lambda: remembering(2 * MAX_SEARCHED))
    bundle: Path = field(default_factory=default_path)
    credentials: Credentials | None = None
    change: Change = change_bundle

    def opened(self, visitor: Visitor, study: str) -> None:
        """Say in the audit trail that a person opened a study: once, not for each of its requests."""
        if self.openings.is_new(visitor.name, study):
            self.record(AuditEvent.STUDY_OPENED, visitor.name, {"study": study}, "success")

    @classmethod
    def of(
        cls,
        config: Config,
        journal: Journal,
        writing: Callable[[], Journal],
        record: Record = record_nothing,
        log: Log = noop_log,
        credentials: Credentials | None = None,
    ) -> Console:
        """Put the parts together for a configured node."""
        users = Users(StateDirectory(config.node.state).users)
        sessions = Sessions(config.web.idle_minutes * 60.0)
        return cls(
            config,
            journal,
            writing,
            users,
            sessions,
            record=record,
            log=log,
            credentials=credentials,
        )


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who looks. subject: what the tokens of their forms belong to."""

    name: str
    role: Role
    subject: str


@dataclass(frozen=True, slots=True)
class Asked:
    """One request, as a page sees it. path: values in the address. form: of a POST."""

    visitor: Visitor
    path: Mapping[str, str]
    query: QueryParams
    form: FormData
    is_post: bool = False


NOBODY: Final = Visitor("", Role.VIEWER, "")
"""Who has not logged in."""
