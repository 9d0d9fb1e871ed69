"""SIGKILL at each named step, several times in one processing, and at random."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from threading import Thread
from typing import Final, Literal

from tests.fault import points
from tests.fault.destinations import Orthanc, Storescp, running
from tests.fault.lab import Lab, until
from tests.fault.plan import Kill
from tests.fault.points import Point
from tests.fault.senders import send, storescu
from tests.fault.sites import Site

EACH: Final = 8
"""Kills at each named step at full size, where a kill costs a second."""
EACH_WORKING: Final = 5
"""The same where it costs a worker's start."""
RANDOM: Final = 80
END_S: Final = 240.0
"""Longest wait for the next change of any series, at the end."""


def _missed(site: Site, point: Point) -> None:
    site.unforeseen.append(f"the step was not reached: {point.step}")


def _wait_for_kill(lab: Lab, site: Site, point: Point) -> None:
    if not site.died(30) or not site.plan.fired(point):
        _missed(site, point)
        site.kill()
    lab.ran(step=point.step)


def _send_rest(lab: Lab, site: Site, but: int = 0) -> None:
    """Send all that was not acknowledged yet but the last so many, in turn by our sender and by storescu."""
    rest = site.ledger.open(i for s in site.ledger.expected for i in s.instances)
    rest = rest[: len(rest) - but]
    if not rest:
        return
    if lab.draw.random() < 0.3:
        storescu(site.port, rest, site.ledger, lab.folder / "storescu")
    else:
        send(site.port, rest, site.ledger)


def _finish(lab: Lab, site: Site) -> None:
    """Let the node do everything that is left, undisturbed, and judge."""
    site.plan.kills = ()
    site.plan.let_workers_go()
    if not site.alive:
        site.start()
    _send_rest(lab, site)
    site.wait_ended(END_S)
    lab.judge(site)


def _rounds(lab: Lab, chosen: Sequence[Point], full: int) -> list[Point]:
    return [point for _ in range(lab.share(full)) for point in lab.chosen(chosen)]


# ---- where no worker is needed ---------------------------------------------------------------------


def receiving(lab: Lab) -> None:
    """Kill between the last byte of an object and its answer."""
    site = lab.site()
    site.plan.hold_workers()
    for point in _rounds(lab, points.RECEIVING, EACH):
        rest = site.ledger.open(i for s in site.ledger.expected for i in s.instances)
        if len(rest) < 5:
            site.ledger.expected += lab.series()
        site.plan.kills = [Kill(point, nth=lab.draw.randint(1, 4))]
        if site.start(
            may_die=True
        ):  # what the last life left behind is adopted, past the same points
            _send_rest(lab, site)
        _wait_for_kill(lab, site, point)
    _finish(lab, site)


def tracking(lab: Lab) -> None:
    """Kill while a series is found complete and selected."""
    site = lab.site()
    site.plan.hold_workers()
    for point in _rounds(lab, points.TRACKING, EACH):
        usable = {"receiving", "complete"} if point.step.startswith("select") else {"receiving"}
        if not usable & set(site.states().values()):
            site.plan.kills = ()
            site.start()
            site.ledger.expected += lab.series()
            _send_rest(lab, site, but=1)  # complete with its last object, at the next life
            site.kill()
        site.plan.kills = [Kill(point)]
        if site.start(may_die=True):
            _send_rest(lab, site)
        _wait_for_kill(lab, site, point)
    _finish(lab, site)


def delivering(lab: Lab) -> None:
    """Kill before, between and after sends, and around the proof."""
    orthanc, storescp = Orthanc(lab.folder / "orthanc"), Storescp(lab.folder / "storescp")
    site = lab.site(orthanc, storescp)
    rounds = _rounds(lab, points.DELIVERING, EACH)
    site.ledger.expected += lab.series(2 + len(rounds) // 2)
    site.start()
    _send_rest(lab, site)
    wanted = {s.series for s in site.ledger.expected}
    site.wait(
        lambda: {s for s, state in site.states().items() if state == "encoded"} >= wanted, END_S
    )
    site.kill()
    site.plan.hold_workers()
    with running(orthanc, storescp):
        for point in rounds:
            site.plan.kills = [Kill(point, nth=lab.draw.randint(1, 2))]
            site.start(may_die=True)
            _wait_for_kill(lab, site, point)
        _finish(lab, site)


# ---- workers ---------------------------------------------------------------------------------------


def working(lab: Lab) -> None:
    """Kill the worker at each of its steps, one after the other in one processing, then the node with it."""
    for number in range(lab.share(EACH_WORKING)):
        victim: Literal["self", "node"] = "self" if number % 2 == 0 else "node"
        steps = lab.chosen(points.WORKING)
        site = lab.site(pictures=False)
        site.plan.kills = [Kill(p, victim=victim) for p in steps]
        site.ledger.expected += lab.series()
        site.start()
        _send_rest(lab, site)
        deadline = time.monotonic() + 3 * END_S
        open_ = list(steps)
        while open_ and time.monotonic() < deadline:
            if not site.alive:
                site.died(5)
                site.plan.kills = [Kill(p, victim=victim) for p in open_]
                site.start()
            fired = [p for p in open_ if site.plan.fired(p)]
            open_ = [p for p in open_ if p not in fired]
            for point in fired:
                lab.ran(step=point.step)
            if open_ and site.alive and set(site.states().values()) == {"delivered"}:
                # The start after a kill records a complete result itself; the rest needs another series.
                site.ledger.expected += lab.series()
                _send_rest(lab, site)
            time.sleep(0.05)
        for point in open_:
            _missed(site, point)
        if victim == "node":
            site.died(5)
        _finish(lab, site)


def drawing(lab: Lab) -> None:
    """Kill the process that draws: the result is made all the same."""
    (point,) = points.DRAWING
    site = lab.site(pictures=True)
    site.plan.kills = [Kill(point, times=lab.share(EACH_WORKING))]
    site.ledger.expected += lab.series(lab.share(EACH_WORKING))
    site.start()
    _send_rest(lab, site)
    site.wait_ended(END_S)
    lab.ran(site.plan.fired(point), point.step)
    if not site.plan.fired(point):
        _missed(site, point)
    _finish(lab, site)


# ---- at random -------------------------------------------------------------------------------------


def at_random(lab: Lab) -> None:
    """Kill the node, or a process below it, at any moment while it receives, works and delivers."""
    orthanc = Orthanc(lab.folder / "orthanc")
    site = lab.site(orthanc)
    with running(orthanc):
        for _ in range(lab.share(RANDOM)):
            if not site.alive:
                site.start()
            if len(site.ledger.open(i for s in site.ledger.expected for i in s.instances)) < 12:
                site.ledger.expected += lab.series()
            sender = Thread(target=_send_rest, args=(lab, site))
            sender.start()
            longest = (0.3,) if lab.only else (0.02, 0.1, 0.3, 1.0, 3.0, 8.0)
            time.sleep(lab.draw.choice(longest) * lab.draw.random())
            victim = _kill_one(lab, site)
            sender.join()
            lab.ran(step=victim)
        _finish(lab, site)


def _kill_one(lab: Lab, site: Site) -> str:
    """Kill the node, or a process below it; says which."""
    below = site.children()
    if below and not lab.only and lab.draw.random() < 0.3:
        with suppress(ProcessLookupError):
            os.kill(lab.draw.choice(below), signal.SIGKILL)
        return "a process below the node"
    site.kill()
    until(lambda: not any(_lives(p) for p in below), 5)
    return "the node"


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
