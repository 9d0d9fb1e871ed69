"""The verdict on a site: what senders were answered against disk, journal and destinations.

It reads bytes and rows itself, by none of the product's own checks.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from dicomseg.read import parsing
from tests.fault.destinations import Destination
from tests.fault.sites import ENDED, Site

COLUMNS: Final = ("lost", "doubled", "stuck", "unexplained")
"""What has to be 0."""

SENT: Final = ("seg.dcm", "midplane.dcm", "measurements.dcm", "volumes.dcm")
"""Files of a result that every destination here is sent."""
_WITH_REASON: Final = ("skipped", "incomplete", "failed")
_KEPT: Final = ("stored", "quarantined", "superseded")
_GONE: Final = "purged"


@dataclass(slots=True)
class Verdict:
    """Counts of a site, and a sentence for each finding."""

    acknowledged: int = 0
    findings: dict[str, list[str]] = field(default_factory=lambda: {c: [] for c in COLUMNS})

    def add(self, column: str, finding: str) -> None:
        """Count one finding."""
        self.findings[column].append(finding)

    def count(self, column: str) -> int:
        """How many of one kind."""
        return len(self.findings[column])

    def join(self, other: Verdict) -> None:
        """Add the verdict on another site."""
        self.acknowledged += other.acknowledged
        for column, findings in other.findings.items():
            self.findings[column] += findings

    @property
    def clean(self) -> bool:
        """Whether there is no finding."""
        return not any(self.findings.values())


def judge(site: Site) -> Verdict:
    """Judge a site whose node is stopped."""
    verdict = Verdict()
    verdict.acknowledged = len(site.ledger.acknowledged)
    for sentence in site.unforeseen:
        verdict.add("unexplained", sentence)
    rows = site.query(
        "SELECT i.sop_instance, i.digest, i.path, i.state, i.reason, s.series FROM instance i"
        " LEFT JOIN series s ON s.id = i.series_id"
    )
    if not rows and site.ledger.acknowledged:
        verdict.add("unexplained", "the journal cannot be read, or is empty")
    _judge_objects(site, rows, verdict)
    _judge_disk(site, rows, verdict)
    _judge_series(site, verdict)
    _judge_results(site, verdict)
    _judge_log(site, verdict)
    return verdict


def _judge_objects(site: Site, rows: list[Any], verdict: Verdict) -> None:
    """Each acknowledged object is in the journal, and its bytes are on disk."""
    kept: dict[str, dict[str, Any]] = defaultdict(dict)
    may_leave = _delivered_series(site)
    for row in sorted(rows, key=lambda r: r["state"] != _GONE):
        if row["state"] in (*_KEPT, _GONE):
            kept[row["sop_instance"]][row["digest"].partition("-")[0]] = row
    for sop, digest in site.ledger.acknowledged:
        row = kept.get(sop, {}).get(digest)
        if row is None:
            verdict.add("lost", f"object {sop}: acknowledged, not in the journal")
        elif row["state"] == _GONE:
            if row["series"] not in may_leave:
                verdict.add("lost", f"object {sop}: purged before its result was delivered")
        elif _digest(site.state / row["path"]) != digest:
            verdict.add("lost", f"object {sop}: acknowledged, {row['path']} has not its bytes")
    stored = Counter(r["sop_instance"] for r in rows if r["state"] == "stored")
    for sop, count in stored.items():
        if count > 1:
            verdict.add("doubled", f"object {sop}: {count} stored rows")


def _delivered_series(site: Site) -> set[str]:
    """Return the series of which every destination confirmed the result, so that their files may leave."""
    wanted = {d.name for d in site.destinations}
    rows = site.query(
        "SELECT s.series, d.destination FROM delivery d JOIN result r ON r.result_id = d.result_id"
        " JOIN series s ON s.id = r.series_id WHERE d.state = 'confirmed'"
    )
    confirmed: dict[str, set[str]] = defaultdict(set)
    for row in rows:
        confirmed[row["series"]].add(row["destination"])
    return {series for series, names in confirmed.items() if wanted <= names}


def _judge_disk(site: Site, rows: list[Any], verdict: Verdict) -> None:
    """Files and rows name each other, and nothing half-done is left."""
    files = {p for area in ("spool", "quarantine") for p in (site.state / area).rglob("*.dcm")}
    named = {site.state / r["path"] for r in rows if r["state"] != _GONE}
    for path in sorted(files - named):
        verdict.add("unexplained", f"{path.relative_to(site.state)}: a file that no row names")
    for path in sorted(named - files):
        verdict.add("unexplained", f"{path}: a row without its file")
    for path in site.state.rglob("*.part"):
        verdict.add("stuck", f"{path.relative_to(site.state)}: left unfinished")


def _judge_series(site: Site, verdict: Verdict) -> None:
    """Each series has ended, those that are expected as delivered, the others with a reason."""
    rows = {
        r["series"]: r
        for r in site.query("SELECT id, series, state, reason, fault, token FROM series")
    }
    expected = {s.series for s in site.ledger.expected}
    for uid in sorted(expected - rows.keys()):
        verdict.add("stuck", f"series {uid}: sent, not in the journal")
    for uid, row in rows.items():
        state, why = row["state"], row["fault"] or row["reason"]
        if state not in ENDED:
            verdict.add(
                "stuck", f"series {uid}: {state}, {why} {_open_deliveries(site, row['id'])}"
            )
        elif uid in expected and state != "delivered" and not (state == _GONE and site.more):
            verdict.add("unexplained", f"series {uid}: {state}, {why}")
        elif state in _WITH_REASON and not why:
            verdict.add("unexplained", f"series {uid}: {state} without a reason")
        if row["token"]:
            verdict.add("stuck", f"series {uid}: still claimed by {row['token']}")


def _open_deliveries(site: Site, series_id: int) -> list[str]:
    rows = site.query(
        "SELECT d.destination, d.state, d.detail FROM delivery d JOIN result r"
        " ON r.result_id = d.result_id WHERE r.series_id = ? AND d.state <> 'confirmed'",
        series_id,
    )
    return [f"{r['destination']} {r['state']}: {r['detail']}" for r in rows]


def _judge_results(site: Site, verdict: Verdict) -> None:
    """One complete result for a series, and every object of it at every destination, as it was made."""
    results = defaultdict(list)
    for row in site.query(
        "SELECT r.result_id, r.folder, r.purged_at, s.series FROM result r JOIN series s ON s.id = r.series_id"
    ):
        results[row["series"]].append(row)
    for series, rows in results.items():
        if len(rows) > 1:
            verdict.add("doubled", f"series {series}: {len(rows)} results of one input")
    confirmed = {
        (r["result_id"], r["destination"])
        for r in site.query("SELECT result_id, destination FROM delivery WHERE state = 'confirmed'")
    }
    objects = {
        row["result_id"]: _made(site, row, verdict) for rows in results.values() for row in rows
    }
    for destination in site.destinations:
        _judge_destination(destination, objects, confirmed, verdict)
    known = {
        Path(r["folder"]).name for rows in results.values() for r in rows if not r["purged_at"]
    }
    for folder in (site.state / "results").glob("[0-9]*"):
        if folder.name not in known:
            verdict.add(
                "unexplained", f"results/{folder.name}: a result that the journal does not name"
            )


def remember_results(site: Site) -> None:
    """Keep what the results on disk consist of, for the time when they are purged."""
    verdict = Verdict()
    for row in site.query("SELECT result_id, folder FROM result"):
        site.remembered[row["result_id"]] = _objects(site.state / row["folder"], verdict)
    site.unforeseen += verdict.findings["lost"]


def _made(site: Site, row: Any, verdict: Verdict) -> dict[str, tuple[str, str]]:
    """Return the objects of a result: of its folder, or as they were before it was purged."""
    if not row["purged_at"]:
        return _objects(site.state / row["folder"], verdict)
    if row["result_id"] not in site.remembered:
        verdict.add("unexplained", f"result {row['result_id']}: purged, and it was never seen")
    return site.remembered.get(row["result_id"], {})


def _judge_destination(
    destination: Destination,
    objects: dict[str, dict[str, tuple[str, str]]],
    confirmed: set[tuple[str, str]],
    verdict: Verdict,
) -> None:
    held = destination.held()
    wanted = {uid: digest for files in objects.values() for uid, digest in files.values()}
    for result, files in objects.items():
        if (result, destination.name) not in confirmed:
            continue
        for name, (uid, digest) in files.items():
            if name not in SENT:
                continue
            if uid not in held:
                verdict.add(
                    "lost", f"{destination.name}: {name} of {result} is confirmed and not there"
                )
            elif held[uid] != digest:
                verdict.add("lost", f"{destination.name}: {name} of {result} has other bytes")
    for uid in held:
        if uid not in wanted:
            verdict.add("doubled", f"{destination.name}: holds {uid}, which no result names")


def _objects(folder: Path, verdict: Verdict) -> dict[str, tuple[str, str]]:
    """SOP Instance UID and digest of the data set of every object of a result, by file."""
    try:
        listed = json.loads((folder / "result.json").read_text(encoding="utf-8"))["objects"]
    except (OSError, ValueError) as error:
        verdict.add("lost", f"{folder.name}: result.json cannot be read ({error})")
        return {}
    found = {}
    for entry in listed:
        path = folder / entry["file"]
        if not path.exists() or hashlib.sha256(path.read_bytes()).hexdigest() != entry["sha256"]:
            verdict.add("lost", f"{folder.name}/{entry['file']}: not as it was made")
        else:
            found[entry["file"]] = (entry["sop_instance"], _digest(path))
    return found


def _judge_log(site: Site, verdict: Verdict) -> None:
    text = site.log.read_text(encoding="utf-8", errors="replace") if site.log.exists() else ""
    for line in text.splitlines():
        if (
            line.startswith(("Traceback", "Fatal Python"))
            or "does not exist; name the step" in line
        ):
            verdict.add("unexplained", f"log: {line[:200]}")
        elif '"event": "ThreadFailed"' in line:
            verdict.add("unexplained", f"log: {line[:300]}")


def _digest(path: Path) -> str:
    try:
        content = path.read_bytes()
    except OSError:
        return ""
    return hashlib.sha256(content[parsing.split_file_meta(content)[0] :]).hexdigest()
