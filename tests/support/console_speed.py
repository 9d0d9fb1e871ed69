"""Response times of the console over a journal of many series: `python tests/support/console_speed.py [SERIES]`.

The journal is written to a temporary folder, the console runs as its own process on loopback; one browser asks.
"""

from __future__ import annotations

import os
import re
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import httpx

from node.console.users import Role, User, Users, hash_password
from node.free_ports import free_ports
from node.journal.identities import IdentityRow
from node.journal.journal import Journal
from node.observe.identity_index import IdentityKey
from node.store.layout import StateDirectory
from tests.support.filled_journal import fill

PASSWORD: Final = "correct horse battery staple"  # noqa: S105 - of a journal that lives for a minute
TIMES: Final = 30
OBJECTS: Final = 10


def main(series: int) -> None:
    """Print a table of pages: processor time, median and slowest of `TIMES` requests, bytes."""
    with tempfile.TemporaryDirectory() as folder:
        state = Path(folder) / "state"
        journal = fill(state / "journal.sqlite", series, OBJECTS)
        index(journal, StateDirectory(state).identity_key)
        Users(state / "users.json").put(User("olga", Role.PHYSICIAN, hash_password(PASSWORD)))
        (port,) = free_ports(1)
        config = Path(folder) / "config.toml"
        config.write_text(
            f'[node]\nae_title = "NODE"\nstate = "{state}"\n[web]\nport = {port}\n'
            '[[node.destination]]\nname = "pacs"\nkind = "folder"\npath = "out"\n',
            encoding="utf-8",
        )
        process = subprocess.Popen(
            [sys.executable, "-m", "node.console.process", "--config", str(config)],
            stdin=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            _ask(f"http://127.0.0.1:{port}", process)
        finally:
            if process.stdin is not None:
                process.stdin.close()
            process.wait(20)
            journal.close()


def index(journal: Journal, file: Path) -> None:
    """Write digests as the node does: a patient for every four series, an accession number for every eight."""
    key = IdentityKey.made(file)
    journal.identities.use(key.fingerprint)
    journal.identities.write([
        IdentityRow(one.series_id, one.seen, key.patient(f"P{one.series_id // 4}"), key.accession(f"A{one.series_id // 8}"), "20231101")
        for one in journal.identities.unread(1_000_000)
    ])  # fmt: skip


def _ask(address: str, process: subprocess.Popen[bytes]) -> None:
    with httpx.Client(base_url=address, timeout=60, headers={"origin": address}) as client:
        _wait(client)
        client.post("/login", data={"name": "olga", "password": PASSWORD})
        deep = "/series"
        for _ in range(3):
            found = re.search(r'rel="next" href="([^"]+)"', client.get(deep).text)
            deep = found[1].replace("&amp;", "&") if found else deep
        far = re.sub(r"before=[0-9.]+-[0-9]+", "before=1650000000.0-40000", deep)
        pages = {
            "overview": "/", "newest 50 series": "/series", "50 older ones": deep, "50 from the middle": far,
            "50 delivered": "/series?state=delivered", "of one day": "/series?day=2023-11-01",
            "by UID": "/series?q=1.3.777", "by patient or accession number": "/series?q=P4711", "one delivered series": "/series/500", "review": "/review", "review, far": "/review?after=20.0_1650000000.0_2.25.1",
            "corrections": "/corrections", "destinations": "/destinations",
            "senders": "/senders", "disk": "/disk", "model": "/model",
        }  # fmt: skip
        sys.stdout.write("| page | CPU ms | median ms | slowest ms | kB |\n|---|---|---|---|---|\n")
        for name, path in pages.items():
            client.get(path).raise_for_status()  # what is kept for a minute is made here
            took, size, before = [], 0, _cpu_ms(process.pid)
            for _ in range(TIMES):
                began = time.perf_counter()
                answer = client.get(path)
                took.append((time.perf_counter() - began) * 1e3)
                size = len(answer.content)
                answer.raise_for_status()
            median = statistics.median(took)
            cpu = (_cpu_ms(process.pid) - before) / TIMES
            sys.stdout.write(
                f"| {name} | {cpu:.1f} | {median:.1f} | {max(took):.1f} | {size / 1e3:.0f} |\n"
            )
            sys.stdout.flush()
        status = Path(f"/proc/{process.pid}/status").read_text("ascii")
        found = re.search(r"VmRSS:\s+(\d+)", status)
        sys.stdout.write(f"memory of the process: {int(found[1]) / 1e3 if found else 0:.0f} MB\n")


def _cpu_ms(pid: int) -> float:
    """Processor time of a process: on a busy machine it says more than the clock does."""
    fields = Path(f"/proc/{pid}/stat").read_text("ascii").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) * 1e3 / os.sysconf("SC_CLK_TCK")


def _wait(client: httpx.Client) -> None:
    for _ in range(300):
        try:
            client.get("/login")
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
