"""Senders that write down every answer: one of our own, and DCMTK's storescu."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from node.demo.servers import NODE_AET, dcmtk_environment
from tests.fault.ledger import NO_ANSWER, SUCCESS, Ledger
from tests.fault.objects import Instance
from tests.fault.surroundings import NotPossible
from tests.support.raw_peer import RawPeer

PATIENCE_S: Final = 60.0


def peer(port: int, *, source: str = "127.0.0.1", patience_s: float = PATIENCE_S) -> RawPeer:
    """Connect to the node."""
    made = RawPeer(port, source=source)
    made.link.settimeout(patience_s)
    return made


def send(
    port: int,
    instances: Sequence[Instance],
    ledger: Ledger,
    *,
    source: str = "127.0.0.1",
    called: str = NODE_AET,
    goes_on: Callable[[int], bool] = lambda _: False,
) -> int:
    """Send over one association, until an answer is missing or bad; returns how many were acknowledged.

    goes_on: whether the sender continues after this status.
    """
    done = 0
    try:
        with peer(port, source=source) as link:
            kind, _ = link.send(
                link.request(calling=b"SCANNER".ljust(16), called=called.encode().ljust(16))
            ).read()
            if kind != 2:
                return 0
            for instance in instances:
                status = _status(link, instance)
                ledger.record(instance, status)
                done += status == SUCCESS
                if status == NO_ANSWER or (status != SUCCESS and not goes_on(status)):
                    return done
            link.send(b"\5\0\0\0\0\4\0\0\0\0").read()
    except OSError:
        pass  # refused, reset or silent: what was answered is written down
    return done


def _status(link: RawPeer, instance: Instance) -> int:
    try:
        return link.store(instance.data, instance.sop_instance, instance.sop_class)
    except OSError:
        return NO_ANSWER


_SENDING: Final = re.compile(r"Sending file: (.+)$")
_ANSWER: Final = re.compile(r"Received Store Response \((.+)\)|Status Code: (0x[0-9a-fA-F]+)")


def storescu(
    port: int,
    instances: Sequence[Instance],
    ledger: Ledger,
    folder: Path,
    *,
    called: str = NODE_AET,
) -> int:
    """Send with DCMTK's storescu and read from its output what it was answered; returns how many.

    Raises `NotPossible`.
    """
    if shutil.which("storescu") is None:
        raise NotPossible("needs DCMTK's storescu (apt install dcmtk)")
    folder.mkdir(parents=True, exist_ok=True)
    names = {}
    for number, instance in enumerate(instances):
        path = folder / f"{number:05}.dcm"
        path.write_bytes(instance.file)
        names[str(path)] = instance
    command = ["storescu", "-v", "-nh", "-aet", "SCANNER", "-aec", called, "127.0.0.1", str(port)]
    done = subprocess.run(
        [*command, *names],
        env={**os.environ, **dcmtk_environment()},
        capture_output=True,
        text=True,
        errors="replace",
        timeout=600,
        check=False,
    )
    return _read(done.stdout + done.stderr, names, ledger)


def _read(output: str, names: dict[str, Instance], ledger: Ledger) -> int:
    count, current = 0, None
    for line in output.splitlines():
        if begun := _SENDING.search(line):
            current = names.get(begun.group(1).strip())
        elif "Received Store Response" in line and current is not None:
            good = "(Success)" in line
            ledger.record(current, SUCCESS if good else 0xA700)
            count += good
            current = None
    return count
