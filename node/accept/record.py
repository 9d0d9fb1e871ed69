"""What is kept of a test: its facts and checks as JSON, and the page for the quality file."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from node.accept.checks import Check, Verdict, count_text, verdict_of
from node.accept.peers import address
from node.accept.run import Acceptance
from node.config import render
from node.config.words import masked
from node.durable import replace_durably
from node.program import program_version

RECORD: Final = "checks.json"
PAGE: Final = "acceptance.html"


@dataclass(frozen=True, slots=True, eq=False)
class Record:
    """Everything that the page shows. facts: what and where, in order. picture: RGB pixels or None.

    deletion: how what was sent is removed from the destination.
    """

    title: str
    study: str
    started: datetime
    ended: datetime
    verdict: Verdict
    facts: tuple[tuple[str, str], ...]
    checks: tuple[Check, ...]
    deletion: tuple[str, ...]
    picture: Any = None

    @property
    def counts(self) -> str:
        """How many checks had which outcome."""
        return count_text(self.checks)


def make_record(test: Acceptance, ended: datetime) -> Record:
    """Gather what is kept of a test that has ended."""
    config, section = test.config, test.peer.config
    model = test.result.get("model", {})
    station = config.node.station
    study = test.result.get("source", {}).get("study", "?")
    facts = (
        ("Node", f"{config.node.name} ({config.node.ae_title})" + (f", station {station}" if station else "")),
        ("Node software", f"lumbar-node {program_version()}, Python {sys.version.split()[0]}"),
        ("Model bundle", f"{model.get('name', '?')} {model.get('version', '?')}, SHA-256 {model.get('digest', '?')}"),
        ("Engine", f"{model.get('engine', '?')}, {model.get('precision', '?')}"),
        ("Configuration", f"SHA-256 {render.digest(config)}"),
        ("Destination", f"{section.name}, {section.kind}, {masked(address(section))}"),
        ("Profile", f"{section.profile}: {', '.join(section.sends.objects)}"),
        ("Patient", f"ACCEPTANCE^TEST, Patient ID {test.run.patient_id} (synthetic, no person)"),
        ("Study Instance UID", study),
        ("Result", test.result.get("result_id", "?")),
    )  # fmt: skip
    return Record(
        "Acceptance test of the image archive", study, test.run.started, ended, verdict_of(test.checks), facts,
        tuple(test.checks), _deletion(test), test.picture,
    )  # fmt: skip


def _deletion(test: Acceptance) -> tuple[str, ...]:
    study = test.result.get("source", {}).get("study", "?")
    series = dict.fromkeys(f.series for f in test.sent)
    lines = [
        f"{len(test.sent)} objects in {len(series)} series of one study were sent; nothing of a person is among them.",
        f"Delete the study in the archive: Patient ID {test.run.patient_id}, Study Instance UID {study}.",
    ]
    if any(c.what == WITHDRAWN for c in test.checks):
        lines.append(
            "A rejection note was sent: an archive with IHE IOCM hides the study by itself."
        )
    elif test.peer.config.kind != "folder":
        lines.append("An archive with IHE IOCM hides it by itself after a test with --withdraw.")
    return tuple(lines)


WITHDRAWN: Final = "Accepts the rejection note that hides the study"


def record_json(record: Record) -> dict[str, Any]:
    """Return a record for programs."""
    return {
        "schema": 1,
        "title": record.title,
        "started": record.started.isoformat(),
        "ended": record.ended.isoformat(),
        "verdict": record.verdict,
        "facts": dict(record.facts),
        "checks": [asdict(c) for c in record.checks],
        "deletion": list(record.deletion),
    }


def keep(record: Record, folder: Path, page: str) -> Path:
    """Write the record and its page into the folder of the test; returns the page's path."""
    content = json.dumps(record_json(record), indent=1, ensure_ascii=False)
    replace_durably(folder / RECORD, content.encode())
    replace_durably(folder / PAGE, page.encode())
    return folder / PAGE
