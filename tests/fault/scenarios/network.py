"""Associations cut at any byte, probes, trickles and floods, and four senders for a long time."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import Final

from node.demo.servers import NODE_AET
from tests.fault.lab import Lab
from tests.fault.ledger import SUCCESS
from tests.fault.objects import FEW, GAP, Instance
from tests.fault.senders import peer, send, storescu
from tests.fault.sites import Site
from tests.support.raw_peer import RawPeer

END_S: Final = 300.0
CUTS: Final = 1000
FOUR_S: Final = 1200.0
"""Four senders: twenty minutes."""
CALLED: Final = NODE_AET.encode().ljust(16)


def _complete(lab: Lab, site: Site) -> None:
    rest = site.ledger.open(i for s in site.ledger.expected for i in s.instances)
    send(site.port, rest, site.ledger)
    site.wait_ended(END_S)
    lab.judge(site)


def _wire(instances: list[Instance]) -> tuple[bytes, list[int]]:
    """What a sender of these objects writes after the association, and where each object ends in it."""
    raw, ends = b"", []
    for instance in instances:
        asked = RawPeer.command(1, sop_class=instance.sop_class, sop_instance=instance.sop_instance)
        raw += RawPeer.fragment(3, asked)
        for at in range(0, len(instance.data), 4000):
            last = at + 4000 >= len(instance.data)
            raw += RawPeer.fragment(2 * last, instance.data[at : at + 4000])
        ends.append(len(raw))
    return raw, ends


def cuts(lab: Lab) -> None:
    """Reset or close the connection after any number of bytes, in the request too."""
    site = lab.site()
    site.plan.hold_workers()
    site.start()
    incomplete = lab.series(2, GAP)  # ends without a worker
    instances = [i for s in incomplete for i in s.instances]
    for _ in range(lab.share(CUTS)):
        some = lab.draw.sample(instances, 3)
        raw, ends = _wire(some)
        request = RawPeer.request(called=CALLED)
        cut = lab.draw.randrange(len(request) + len(raw))
        with suppress(OSError), peer(site.port, patience_s=10) as link:
            if cut < len(request):
                link.send(request[:cut])
            elif link.send(request).read()[0] == 2:
                end = cut - len(request)
                _converse(site, link, raw[:end], some, ends)
            if lab.draw.random() < 0.5:  # a reset instead of an ordered end of the connection
                linger = b"\x01\0\0\0\0\0\0\0"
                link.link.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        lab.runs += 1
    lab.say(f"{lab.runs} associations cut")
    send(site.port, site.ledger.open(instances), site.ledger)
    _complete(lab, site)


def _converse(site: Site, link: RawPeer, raw: bytes, some: list[Instance], ends: list[int]) -> None:
    """Write up to the cut, and take every answer that is due before it."""
    at = 0
    for instance, end in zip(some, ends, strict=True):
        link.send(raw[at : min(end, len(raw))])
        if end > len(raw):
            return
        site.ledger.record(instance, link.status())
        at = end


def crowds(lab: Lab) -> None:
    """Probes, connections that say nothing, trickles and floods of associations, while one sender works."""
    site = lab.site(idle_s=2.0, receive="max_associations = 12\nmax_associations_per_peer = 8\n")
    site.start()
    stop = threading.Event()
    attacks = (_probe, _silent, _trickle, _flood, _garbage)
    counts = [0] * len(attacks)

    def again(number: int, attack: Callable[[Site, str], None]) -> None:
        while not stop.is_set():
            with suppress(OSError):
                attack(site, f"127.0.{number + 2}.{counts[number] % 200 + 1}")
            counts[number] += 1

    threads = [threading.Thread(target=again, args=(n, a)) for n, a in enumerate(attacks)]
    for thread in threads:
        thread.start()
    ends_at = time.monotonic() + max(6.0, 120 * lab.scale)
    worst = 0.0
    while time.monotonic() < ends_at:
        new = lab.series(chosen=FEW)[0]
        began = time.monotonic()
        if send(site.port, new.instances, site.ledger) != len(new.instances):
            site.unforeseen.append("a well-behaved sender was not served beside the crowd")
        worst = max(worst, time.monotonic() - began)
        lab.runs += 1
        time.sleep(0.05)
    stop.set()
    for thread in threads:
        thread.join(30)
    lab.note(
        f"beside {', '.join(f'{c} {a.__name__[1:]}' for c, a in zip(counts, attacks, strict=True))}; slowest of ours {worst:.1f} s"
    )
    site.ledger.expected += lab.series()
    _complete(lab, site)


def _probe(site: Site, source: str) -> None:
    socket.create_connection(("127.0.0.1", site.port), 5, source_address=(source, 0)).close()
    time.sleep(0.005)


def _silent(site: Site, source: str) -> None:
    with ExitStack() as held:
        for _ in range(10):
            held.enter_context(
                socket.create_connection(("127.0.0.1", site.port), 5, source_address=(source, 0))
            )
        time.sleep(0.5)


def _trickle(site: Site, source: str) -> None:
    with peer(site.port, source=source, patience_s=5) as link:
        for byte in RawPeer.request(called=CALLED)[:60]:
            link.link.sendall(bytes([byte]))
            time.sleep(0.05)


def _flood(site: Site, source: str) -> None:
    with ExitStack() as held:
        for _ in range(8):
            link = held.enter_context(peer(site.port, source=source, patience_s=5))
            link.send(RawPeer.request(called=CALLED))
        time.sleep(0.2)


def _garbage(site: Site, source: str) -> None:
    with peer(site.port, source=source, patience_s=5) as link:
        link.send(b"GET / HTTP/1.1\r\nHost: node\r\n\r\n").read()
    time.sleep(0.01)


def four_senders(lab: Lab) -> None:
    """Four senders without a pause: own ones and storescu, series of their own and the same ones."""
    seconds = FOUR_S * lab.scale
    site = lab.site()
    site.plan.hold_workers()
    site.start()
    shared = lab.series(2, GAP)
    ends_at = time.monotonic() + seconds
    lock = threading.Lock()

    def sender(number: int) -> None:
        while time.monotonic() < ends_at:
            with lock:
                new = (
                    lab.series(chosen=GAP)[0]
                    if lab.draw.random() < 0.7
                    else lab.draw.choice(shared)
                )
            if number == 3:
                storescu(site.port, new.instances, site.ledger, lab.folder / f"storescu{number}")
            else:
                send(site.port, new.instances, site.ledger)
            lab.runs += 1

    began = time.monotonic()
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(sender, n) for n in range(4)]:
            done.result()
    answers = site.ledger.statuses
    rate = answers[SUCCESS] / (time.monotonic() - began)
    lab.note(f"{seconds:.0f} s; {rate:.0f} objects a second; answers {dict(answers)}")
    if set(answers) != {SUCCESS}:
        site.unforeseen.append(f"answers other than success: {dict(answers)}")
    _complete(lab, site)
