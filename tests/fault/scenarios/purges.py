"""SIGKILL while files are purged: what left was delivered with proof, and what was not delivered stays."""

from __future__ import annotations

from typing import Final

from tests.fault import points
from tests.fault.destinations import Orthanc, running, settle
from tests.fault.lab import Lab
from tests.fault.plan import Kill
from tests.fault.senders import send
from tests.fault.sites import Site
from tests.fault.verdict import remember_results

EACH: Final = 8
"""Kills at each named step at full size."""
WAIT_S: Final = 240.0
LOOK_S: Final = 3.0
_AT_ONCE: Final = "[retention]\ndelivered_days = 0.000001\nskipped_days = 0.000001\n"


def _send_all(site: Site) -> None:
    send(
        site.port,
        site.ledger.open(i for s in site.ledger.expected for i in s.instances),
        site.ledger,
    )


def purging(lab: Lab) -> None:
    """Deliver series, let one wait for its destination, then kill at each step of the purge."""
    orthanc = Orthanc(lab.folder / "orthanc")
    site = lab.site(orthanc)
    rounds = [p for _ in range(lab.share(EACH)) for p in lab.chosen(points.PURGING)]
    with running(orthanc):
        site.ledger.expected += lab.series(len(rounds) + 1)
        site.start()
        _send_all(site)
        site.wait_ended(WAIT_S)
    waiting = lab.series()
    site.ledger.expected += waiting
    _send_all(site)
    site.wait(lambda: site.states().get(waiting[0].series) == "encoded", WAIT_S)
    site.kill()
    remember_results(site)
    site.more = _AT_ONCE
    site.plan.hold_workers()
    for point in rounds:
        site.plan.kills = [Kill(point)]
        site.start(may_die=True)
        if not site.died(30) or not site.plan.fired(point):
            site.unforeseen.append(f"the step was not reached: {point.step}")
            site.kill()
        lab.ran(step=point.step)
    _finish(lab, site, orthanc)


def _finish(lab: Lab, site: Site, orthanc: Orthanc) -> None:
    """Let the node purge what is left while the destination is away, then deliver what waits, and judge."""
    site.plan.kills = ()
    site.start()
    delivered = len(site.ledger.expected) - 1
    site.wait(lambda: _purged(site) >= delivered and not _marked(site), WAIT_S)
    settle(LOOK_S)  # what else would leave with them has left
    with running(orthanc):
        site.wait_ended(WAIT_S)
        lab.note(f"{_purged(site)} of {len(site.ledger.expected)} series purged")
        lab.judge(site)


def _purged(site: Site) -> int:
    return sum(state == "purged" for state in site.states().values())


def _marked(site: Site) -> int:
    return len(site.query("SELECT 1 FROM instance WHERE state = 'purging'"))
