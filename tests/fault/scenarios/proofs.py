"""Destinations of DICOMweb in every mood, and archives that report on storage commitment in every manner."""

from __future__ import annotations

import time
from typing import Final, get_args

from tests.fault.archives import LATE_S, Committing, Manner
from tests.fault.lab import Lab
from tests.fault.scenarios.peers import END_S, encode
from tests.fault.senders import send
from tests.fault.sites import Site
from tests.fault.web import MoodyWeb, WebMood

REFUSING: Final[tuple[WebMood, ...]] = (
    "conflict", "busy", "locked", "cuts", "redirects", "trickles", "noise",
)  # fmt: skip
TAKING: Final[tuple[WebMood, ...]] = ("some-refused", "large", "warns")
"""Moods in which results arrive in the end: each gets one of its own."""


def web_moods(lab: Lab) -> None:
    """Every mood for a while, with the node killed in between now and then; in the end both servers are well.

    One of them is asked what it holds; of the other only its answers to STOW-RS are known.
    """
    servers = (MoodyWeb(), MoodyWeb(name="unasked", proof="none"))
    site = lab.site(*servers)
    for server in servers:
        lab.finally_(server.stop)
    _turn(servers, "busy")
    site.start()
    for _ in range(lab.share(10)):
        refusing = [m for m in REFUSING if not lab.only or m in lab.only]
        if refusing:
            encode(lab, site, 1)
        for mood in lab.draw.sample(refusing, len(refusing)):
            _turn(servers, mood)
            time.sleep(1 + lab.draw.random())
            lab.ran()
            if lab.draw.random() < 0.2:
                site.kill()
                site.start()
        for mood in (m for m in TAKING if not lab.only or m in lab.only):
            _turn(servers, mood)
            encode(lab, site, 1)
            site.wait_ended(END_S)
            lab.ran()
    _turn(servers, "well")
    site.wait_ended(END_S)
    lab.judge(site)
    tried = sorted({mood for server in servers for mood in server.answers})
    lab.note(f"answered to STOW-RS: {', '.join(tried)}")


def _turn(servers: tuple[MoodyWeb, ...], mood: WebMood) -> None:
    """End what the servers are doing, and start them in another mood."""
    for server in servers:
        server.stop()
        server.mood = mood
        server.start()


HARDEST: Final[tuple[Manner, ...]] = ("late", "never", "loses-one", "unknown")
"""Manners of the small share that every run of the tests has."""


def commitment(lab: Lab) -> None:
    """Every manner of reporting, each for a series; the node is killed between the request and a late report."""
    archive = Committing()
    site = lab.site(archive)
    site.plan.variants = (*site.plan.variants, ("soon_again", "node.deliver.prove:wait_s"))
    archive.report_to = site.port
    lab.finally_(archive.stop)
    archive.start()
    site.start()
    manners = lab.only or (HARDEST if lab.is_small else get_args(Manner))
    for number in range(lab.share(6)):
        for manner in manners:
            _report(lab, site, archive, manner, killed=manner == "late" and not number % 2)
    site.wait_ended(END_S)
    for row in site.query("SELECT state, proof FROM delivery WHERE proof <> 'committed'"):
        site.unforeseen.append(f"a delivery is {row['state']}, its proof {row['proof']!r}")
    refused = archive.taken.get("unknown", [])
    if "unknown" in manners and (not refused or all(status == 0 for status in refused)):
        site.unforeseen.append(f"a report on an unknown transaction was answered with {refused}")
    lab.judge(site)
    lab.note(f"{archive.asked} requests, answers to reports: {archive.taken}")


def _report(lab: Lab, site: Site, archive: Committing, manner: Manner, *, killed: bool) -> None:
    archive.manner, before = manner, archive.asked
    (series,) = lab.series(1)
    site.ledger.expected.append(series)
    send(site.port, series.instances, site.ledger)
    site.wait(lambda: archive.asked > before, END_S)
    if killed:
        site.kill()
        time.sleep(LATE_S)
        site.start()
    if manner == "never":
        time.sleep(1)
        archive.manner = "at-once"
    site.wait_delivered(series, END_S)
    lab.ran()
