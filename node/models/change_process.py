"""`python -m node.models.change_process`: change the bundle in service as standard input asks."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from dicomseg.errors import LumbarError
from node.errors import PromotionRefused
from node.journal.job_rows import Promotion
from node.journal.journal import Journal
from node.models import registry as models
from node.models.change import ChangeAsked
from node.models.registry import ModelRegistry, Request
from node.store.layout import StateDirectory


def main() -> int:
    """Answer one request; returns the exit code."""
    asked = ChangeAsked(**json.load(sys.stdin))
    try:
        row = _change(asked)
        answer = {"done": f"{row.name} {row.version}"}
    except LumbarError as error:
        answer = {"code": error.code, "text": str(error)}
    sys.stdout.write(json.dumps(answer) + "\n")
    return 0


def _change(asked: ChangeAsked) -> Promotion:
    state = Path(asked.state)
    journal = Journal.writing(StateDirectory(state).journal, time.time)
    registry = ModelRegistry(state, journal, Path(asked.configured) if asked.configured else None)
    request = Request(asked.by, asked.reason, asked.seen)
    if asked.job is None:
        return models.rollback(registry, request)
    job = journal.jobs.get(asked.job)
    try:
        return models.promote(registry, models.find_candidate(state, job), request, job)
    except PromotionRefused:
        # Another person's change also makes it refused, in other words: that person is named instead.
        models.newest_change(registry, request)
        raise


if __name__ == "__main__":
    sys.exit(main())
