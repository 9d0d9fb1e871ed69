"""A full disk, a read-only one, a damaged journal, files that are gone, and a clock that jumps."""

from __future__ import annotations

import subprocess
import threading
import time
from pathlib import Path
from typing import Final

from node.demo import servers
from tests.fault.filesystem import Small, immutable
from tests.fault.lab import Lab, until
from tests.fault.senders import send
from tests.fault.sites import Site

END_S: Final = 240.0
RESERVE_MB: Final = 16
"""What the node leaves free for its journal (`node.store.incoming`)."""


def _send_all(site: Site, seconds: float) -> bool:
    """Send until everything is acknowledged; False when that does not come in time."""

    def sent() -> bool:
        rest = site.ledger.open(i for s in site.ledger.expected for i in s.instances)
        if rest:
            send(site.port, rest, site.ledger, goes_on=lambda _: True)
        return not site.ledger.open(rest)

    return until(sent, seconds, 0.2)


def full(lab: Lab) -> None:
    """Fill the disk of the state folder to its last byte, again and again, while it receives and works."""
    for number in range(lab.share(5)):
        small = Small.mounted(lab, lab.folder / f"small{number}", RESERVE_MB + 24)
        site = lab.site(folder=lab.folder / f"site{number}")
        site.state = small.path / "state"
        site.start()
        site.ledger.expected += lab.series(2 if lab.is_small else 4)
        stop = threading.Event()

        def toggle(small: Small = small, stop: threading.Event = stop) -> None:
            while not stop.is_set():
                small.fill(leave=lab.draw.choice((0, 0, 0, 4096, 200_000, 17_000_000)))
                stop.wait(lab.draw.random())
                small.free()
                stop.wait(lab.draw.random() * 0.5)

        filler = threading.Thread(target=toggle)
        filler.start()
        ends_at = time.monotonic() + 6 + 20 * lab.scale
        while time.monotonic() < ends_at:
            rest = site.ledger.open(i for s in site.ledger.expected for i in s.instances)
            send(site.port, rest, site.ledger, goes_on=lambda _: True)
            time.sleep(0.2)
        stop.set()
        filler.join()
        small.free()
        if not _send_all(site, 60):
            site.unforeseen.append("objects are refused though the disk has room again")
        refusals = site.ledger.statuses[0xA700]
        if not refusals:
            site.unforeseen.append("the disk was never full for a sender")
        site.wait_ended(END_S)
        lab.judge(site)
        lab.ran()
        lab.note(f"{refusals} objects refused with 0xA700 while the disk was full")


def read_only(lab: Lab) -> None:
    """A state folder that cannot be written, before the start and while it receives."""
    for number in range(lab.share(5)):
        small = Small.mounted(lab, lab.folder / f"small{number}", RESERVE_MB + 24)
        site = lab.site(folder=lab.folder / f"site{number}")
        site.state = small.path / "state"
        site.start()
        site.ledger.expected += lab.series(2)
        send(site.port, site.ledger.expected[0].instances[:9], site.ledger)
        site.stop()
        if not small.read_only(on=True):
            site.unforeseen.append("the file system could not be made read-only")
        _must_refuse(site)
        small.read_only(on=False)
        site.start()
        spool = [site.state / "spool", *(p for p in (site.state / "spool").iterdir() if p.is_dir())]
        with immutable(*spool):
            send(site.port, site.ledger.expected[1].instances, site.ledger, goes_on=lambda _: True)
        if not _send_all(site, 60):
            site.unforeseen.append("objects are refused though the folder can be written again")
        site.wait_ended(END_S)
        lab.judge(site)
        lab.ran()


def _must_refuse(site: Site) -> str:
    """The node must not start, and say why in one line."""
    command = [servers.command("lumbar-node"), "serve", "--config", str(site.configure())]
    done = subprocess.run(
        command, env=site.plan.write(), capture_output=True, text=True, timeout=60, check=False
    )
    if done.returncode != 2 or "Traceback" in done.stderr:
        site.unforeseen.append(f"the start ended with {done.returncode}: {done.stderr[-300:]}")
    return done.stderr.strip()


def corrupt(lab: Lab) -> None:
    """Overwrite a page of the journal: the node says so and does not start; a rebuilt journal knows everything."""
    for number in range(lab.share(5)):
        site = lab.site()
        site.start()
        site.ledger.expected += lab.series(2)
        first, second = site.ledger.expected
        send(site.port, first.instances, site.ledger)
        if number % 2:
            site.wait_delivered(first, END_S)
        send(site.port, second.instances[:11], site.ledger)
        site.kill()
        _overwrite(site, lab)
        said = _must_refuse(site)
        if "doctor --rebuild" not in said:
            site.unforeseen.append(f"the refusal names no remedy: {said[-200:]}")
        command = [
            servers.command("lumbar-node"),
            "doctor",
            "--rebuild",
            "--config",
            str(site.configure()),
        ]
        done = subprocess.run(
            command, env=site.plan.write(), capture_output=True, text=True, timeout=120, check=False
        )
        if done.returncode != 0:
            site.unforeseen.append(
                f"doctor --rebuild ended with {done.returncode}: {done.stderr[-300:]}"
            )
        site.start()
        _send_all(site, 60)
        site.wait_ended(END_S)
        lab.judge(site)
        lab.ran()


def _overwrite(site: Site, lab: Lab) -> None:
    """Damage the file for certain: what is in the write-ahead log is moved into it first."""
    import sqlite3
    from contextlib import closing

    path = site.state / "journal.sqlite"
    with closing(sqlite3.connect(path)) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        (root,) = db.execute(
            "SELECT rootpage FROM sqlite_master WHERE name = 'instance'"
        ).fetchone()
        (size,) = db.execute("PRAGMA page_size").fetchone()
    with path.open("r+b") as file:
        file.seek((root - 1) * size)
        file.write(lab.draw.randbytes(size))


def spool_lost(lab: Lab) -> None:
    """Delete and shorten received files behind the node: others are served, and what is sent again is taken."""
    for _ in range(lab.share(5)):
        site = lab.site()
        site.plan.hold_workers()
        site.start()
        good, bad = lab.series(2)
        # All but the last, so that the series is still looked at when its files are gone.
        send(site.port, bad.instances[:-1], site.ledger)
        paths = _files(site, bad.series)
        site.kill()
        paths[3].unlink()
        paths[7].write_bytes(paths[7].read_bytes()[:200])
        site.plan.let_workers_go()
        site.start()
        send(site.port, bad.instances[-1:], site.ledger)
        site.ledger.expected.append(good)
        send(site.port, good.instances, site.ledger)
        if not site.wait_delivered(good, 90):
            lab.verdict.add("stuck", "a good series waits for one with files that are gone")
        send(site.port, bad.instances, site.ledger, goes_on=lambda _: True)
        site.ledger.expected.append(bad)
        site.wait_ended(60)
        lab.judge(site)
        lab.ran()


def _files(site: Site, series: str) -> list[Path]:
    rows = site.query(
        "SELECT i.path FROM instance i JOIN series s ON s.id = i.series_id WHERE s.series = ? ORDER BY i.rowid",
        series,
    )
    return [site.state / r["path"] for r in rows]


def clock(lab: Lab) -> None:
    """Set the clock back and forth, by seconds and by years, while it receives, works and delivers."""
    site = lab.site()
    site.start()
    for _ in range(lab.share(10)):
        new = lab.series()
        site.ledger.expected += new
        for part in (slice(0, 9), slice(9, 20), slice(20, None)):
            site.plan.turn_clock(lab.draw.choice((1, -1)) * lab.draw.choice((3, 600, 90_000, 3e8)))
            send(site.port, new[0].instances[part], site.ledger)
            time.sleep(0.3 * lab.draw.random())
            lab.ran()
        ends_at = time.monotonic() + END_S
        while not site.wait_delivered(new[0], 0) and time.monotonic() < ends_at:
            site.plan.turn_clock(lab.draw.choice((1, -1)) * lab.draw.choice((3, 600, 90_000, 3e8)))
            time.sleep(1)
    site.wait_ended(60)
    lab.judge(site)
