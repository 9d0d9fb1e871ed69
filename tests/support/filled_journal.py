"""A journal with many series, written at once: for what must stay cheap when it has grown."""

from __future__ import annotations

import json
from pathlib import Path

from node.journal.journal import Journal

NOW = 1_700_000_000.0
SECONDS_BETWEEN = 600.0


def fill(path: Path, series: int, objects: int, destinations: tuple[str, ...] = ("pacs", "web")) -> Journal:  # fmt: skip
    """Return a journal of `series` series of `objects` objects; one in ten delivered, the others skipped."""
    journal = Journal.open(path, lambda: NOW)
    with journal.database.transaction() as tx:
        for n in range(1, series + 1):
            at = NOW - (series - n) * SECONDS_BETWEEN
            eligible = n % 10 == 0
            state = "delivered" if eligible else "skipped"
            reason = (
                "" if eligible else f"not a 3D T2 SPACE acquisition: TE {n % 7} ms is below 60 ms"
            )
            sender = f"MR{n % 5}"
            tx.execute(
                "INSERT INTO series (id, study, series, state, reason, instances, first_at, last_at, state_at)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
                (n, f"1.2.{n // 8}", f"1.3.{n}", state, reason, objects, at, at, at),
            )  # fmt: skip
            for k in range(objects):
                tx.execute(
                    "INSERT INTO instance (sop_instance, digest, series_id, sop_class, transfer_syntax, path, bytes,"
                    " calling_ae, state, received_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                    (f"1.2.840.113619.2.55.{n}.{k}", f"{n:032x}{k:032x}", n, "1.2.840.10008.5.1.4.1.1.4",
                     "1.2.840.10008.1.2.1", f"spool/ab/{n:032x}{k:032x}.dcm", 206_000, sender, "stored", at),
                )  # fmt: skip
            events = [("instance_stored", "receiving"), ("geometry_complete", "complete")]
            events += (
                [("rules_accept", "selected"), ("claimed", "processing"), ("results_published", "encoded")]
                if eligible else [("rules_reject", "skipped")]
            )  # fmt: skip
            for late, (event, to) in enumerate(events):
                tx.execute(
                    "INSERT INTO event (at, series_id, event, state, detail) VALUES (?, ?, ?, ?, ?)",
                    (at + late, n, event, to, json.dumps({"reason": reason})),
                )
            for name in destinations if eligible else ():
                if name == destinations[0]:
                    tx.execute(
                        "INSERT INTO result (result_id, series_id, folder, model_digest, attempt, created_at, doubt, doubts)"
                        " VALUES (?, ?, ?, 'd', 0, ?, ?, ?)",
                        (
                            f"2.25.{n}",
                            n,
                            f"results/2.25.{n}",
                            at + 4,
                            float(n % 90),
                            json.dumps([{"text": "t"}] * 3),
                        ),
                    )
                tx.execute(
                    "INSERT INTO delivery (result_id, destination, state, state_at, proof) VALUES (?, ?, ?, ?, ?)",
                    (f"2.25.{n}", name, "confirmed", at + 5, "stored"),
                )
    return journal
