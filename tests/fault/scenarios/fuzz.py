"""Mutated objects and PDUs over the network, half of them past negotiation; a good study gets through after each batch."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final

from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLosslessSV1,
    MRImageStorage,
    RLELossless,
)

from node.demo.servers import NODE_AET
from tests.fault.lab import Lab, until
from tests.fault.ledger import NO_ANSWER
from tests.fault.objects import Instance
from tests.fault.senders import peer, send
from tests.fault.sites import Site
from tests.support.mutations import mutated, mutated_pdus, valid_objects
from tests.support.paths import ROOT
from tests.support.raw_peer import RawPeer

FULL: Final = 20_000
BATCH: Final = 500
SYNTAXES: Final = (
    ExplicitVRLittleEndian, ImplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, JPEGLosslessSV1, RLELossless,
)  # fmt: skip
CALLED: Final = NODE_AET.encode().ljust(16)
LARGEST_MB: Final = 600
"""Memory that the serving process may have at any time."""
STUDY_S: Final = 120.0
_SEEDS: Final = {
    "poison-us-of-3-bytes": ExplicitVRLittleEndian,
    "poison-truncated-deflate": DeflatedExplicitVRLittleEndian,
    "deflate-bomb": DeflatedExplicitVRLittleEndian,
}


def fuzz(lab: Lab) -> None:
    """Half objects through an association, a quarter PDUs past negotiation, a quarter from the first byte on."""
    site = lab.site(
        idle_s=2.0,
        receive="max_associations = 40\nmax_associations_per_peer = 40\nmax_object_mb = 64\n",
    )
    site.start()
    series = lab.stock.folder / "phantom" / "t2_space"
    valid = valid_objects(sorted(series.glob("*.dcm"))[:1])
    seeds = _seeds(lab, series)
    total, largest = lab.share(FULL), 0.0
    counts: Counter[str] = Counter()
    while lab.runs < total:
        share = min(BATCH, total - lab.runs)
        _objects(lab, site, valid, seeds, share // 2, counts)
        largest = max(largest, _resident_mb(site.pid))
        _dialogues(lab, site, valid, share - share // 2, counts)
        largest = max(largest, _resident_mb(site.pid))
        good = lab.series()[0]
        site.ledger.expected.append(good)
        if send(site.port, good.instances, site.ledger) != len(good.instances):
            site.unforeseen.append(f"after {lab.runs} inputs a good series was not taken")
        if not site.wait_delivered(good, STUDY_S):
            lab.verdict.add("stuck", f"after {lab.runs} inputs a good series was not delivered")
            break
        lab.ran(share)
    if largest > LARGEST_MB:
        site.unforeseen.append(f"the serving process had {largest:.0f} MB")
    lab.note(
        f"{dict(counts)}; seeds: {', '.join(n for n, _ in seeds) or 'none here'}; at most {largest:.0f} MB"
    )
    site.wait_ended(240)
    lab.judge(site)


def _seeds(lab: Lab, series: Path) -> list[tuple[str, tuple[str, bytes]]]:
    """Objects from reports of other programs, where their generators lie beside the repository."""
    shared = Path(os.environ.get("SHARED") or ROOT.parent / "shared") / "cases" / "fault"
    found = []
    for name, syntax in _SEEDS.items():
        make, out = shared / name / "make.py", lab.folder / f"{name}.bin"
        if make.exists():
            done = subprocess.run(
                [sys.executable, str(make), str(series), str(out)], capture_output=True, check=False
            )
            if done.returncode == 0:
                found.append((name, (str(syntax), out.read_bytes())))
    return found


# ---- objects in an association ---------------------------------------------------------------------


def _objects(
    lab: Lab, site: Site, valid: Sequence[tuple[str, bytes]], seeds: Sequence[tuple[str, tuple[str, bytes]]],
    count: int, counts: Counter[str],
) -> None:  # fmt: skip
    todo = []
    for number in range(count):
        syntax, data = lab.draw.choice(valid)
        if number < len(seeds):
            syntax, data = seeds[number][1]
        else:
            syntax, data = mutated(lab.draw, syntax, data)
        if len(data) % 2 == 0 or lab.draw.random() < 0.5:
            sop = f"2.25.{lab.draw.getrandbits(90)}"
            todo.append(Instance(str(MRImageStorage), sop, data, syntax=syntax))
        else:
            todo.append(
                Instance(
                    str(MRImageStorage),
                    f"2.25.{lab.draw.getrandbits(90)}",
                    data + b"\0",
                    syntax=syntax,
                )
            )
    with ThreadPoolExecutor(4) as pool:
        for answered in pool.map(lambda part: _send(site, part), [todo[n::4] for n in range(4)]):
            counts.update(answered)


def _send(site: Site, todo: Sequence[Instance]) -> Counter[str]:
    """Send each in the context of its syntax, over as many associations as the node wants."""
    counts: Counter[str] = Counter()
    rest = list(todo)
    contexts = [(str(MRImageStorage), (str(s),)) for s in SYNTAXES]
    while rest:
        with suppress(OSError), peer(site.port) as link:
            if link.send(link.request(*contexts, called=CALLED)).read()[0] != 2:
                time.sleep(0.2)
                continue
            while rest:
                instance = rest.pop(0)
                known = [str(s) for s in SYNTAXES]
                at = known.index(instance.syntax) if instance.syntax in known else 0
                status = link.store(
                    instance.data, instance.sop_instance, instance.sop_class, 2 * at + 1
                )
                site.ledger.record(instance, status)
                counts["no answer" if status == NO_ANSWER else f"0x{status:04X}"] += 1
                if status == NO_ANSWER:
                    break
    return counts


# ---- PDUs ------------------------------------------------------------------------------------------


def _dialogues(
    lab: Lab, site: Site, valid: Sequence[tuple[str, bytes]], count: int, counts: Counter[str]
) -> None:
    seeds = [lab.draw.getrandbits(60) for _ in range(count)]
    past = [n % 2 == 0 for n in range(count)]

    def attack(seed: int, number: int, after: bool) -> str:
        draw = random.Random(seed)
        _, data = draw.choice(valid)
        request, *rest = _dialogue(data, f"2.25.{draw.getrandbits(90)}")
        source = f"127.1.{number % 250}.{number % 200 + 1}"
        try:
            with peer(site.port, source=source, patience_s=40) as link:
                if after:
                    if link.send(request).read()[0] != 2:
                        return "no association"
                    pdus = mutated_pdus(draw, rest)
                else:
                    pdus = mutated_pdus(draw, [request, *rest])
                for pdu in pdus:
                    link.send(pdu)
                if number % 7:
                    with suppress(OSError):
                        link.link.shutdown(1)
                while link.read()[0]:
                    pass
        except TimeoutError:
            return "not ended"
        except OSError:
            return "reset"
        return "past negotiation" if after else "from the first byte"

    with ThreadPoolExecutor(8) as pool:
        counts.update(pool.map(attack, seeds, range(count), past))
    if counts["not ended"]:
        site.unforeseen.append(f"{counts.pop('not ended')} connections were not ended")


def _dialogue(data: bytes, sop: str) -> list[bytes]:
    command = RawPeer.command(1, sop_class=MRImageStorage, sop_instance=sop)
    return [
        RawPeer.request(called=CALLED),
        RawPeer.fragment(3, command),
        RawPeer.fragment(0, data[:200]),
        RawPeer.fragment(2, data[200:]),
        b"\5\0\0\0\0\4\0\0\0\0",
    ]


def _resident_mb(pid: int) -> float:
    """Largest memory of a process so far."""
    found = [0.0]

    def read() -> bool:
        with suppress(OSError):
            text = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
            found[0] = float(text.partition("VmHWM:")[2].split()[0]) / 1000
        return True

    until(read, 1)
    return found[0]
