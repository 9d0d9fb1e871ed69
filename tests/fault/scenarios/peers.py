"""Destinations that are away, refuse, are slow, cut, lose, or answer bad statuses beside good ones."""

from __future__ import annotations

import time
from typing import Final, get_args

from pynetdicom.sop_class import ComprehensiveSRStorage, SegmentationStorage  # type: ignore[attr-defined]

from tests.fault.destinations import Orthanc, Waits, running
from tests.fault.lab import Lab
from tests.fault.peers import Mood, Moody
from tests.fault.senders import send
from tests.fault.sites import Site

END_S: Final = 240.0
AWAY_S: Final = 25.0
"""Longer than any wait between two tries here, many times."""


def encode(lab: Lab, site: Site, count: int) -> None:
    """Have results made while the destination is away."""
    site.ledger.expected += lab.series(count)
    for series in site.ledger.expected:
        send(site.port, series.instances, site.ledger)
    wanted = {s.series for s in site.ledger.expected}
    done = ("encoded", "delivered")
    site.wait(lambda: {s for s, state in site.states().items() if state in done} >= wanted, END_S)


def moods(lab: Lab) -> None:
    """Every mood for a while, with the node killed in between now and then; in the end it is well."""
    moody = Moody()
    site = lab.site(moody)
    site.start()
    encode(lab, site, lab.share(12, 2))
    lab.finally_(moody.stop)
    every: list[Mood] = [m for m in get_args(Mood) if m != "well"]
    for number in range(lab.share(10)):
        lab.draw.shuffle(every)
        for mood in every:
            moody.stop()
            time.sleep(0.5 * lab.draw.random())
            moody.mood = mood
            moody.start()
            time.sleep(3 if mood in {"slow", "silent"} else 1)
            lab.ran()
            if lab.draw.random() < 0.2:
                site.kill()
                site.start()
        if number % 2:  # some results arrive, others are still to come
            moody.mood = "well"
            time.sleep(1)
    moody.mood = "well"
    site.wait_ended(END_S)
    lab.judge(site)


def away(lab: Lab) -> None:
    """Orthanc is down for longer than any wait, back, down in the middle, and back with what it held."""
    for _ in range(lab.share(3)):
        orthanc = Orthanc(lab.folder / f"orthanc{lab.runs}")
        site = lab.site(orthanc)
        site.start()
        encode(lab, site, 3)
        time.sleep(max(3.0, AWAY_S * lab.scale))
        lab.finally_(orthanc.stop)
        orthanc.start()
        site.wait(lambda s=site: "delivered" in s.states().values(), 60)
        assert orthanc.running is not None
        orthanc.running.process.kill()
        orthanc.running.process.wait(10)
        time.sleep(1)
        orthanc.start()
        site.wait_ended(END_S)
        lab.judge(site)
        lab.ran()


def loses(lab: Lab) -> None:
    """A destination takes everything, holds nothing, and answers so; later it keeps what it is sent again."""
    for _ in range(lab.share(5)):
        moody = Moody(mood="loses")
        site = lab.site(moody)
        lab.finally_(moody.stop)
        moody.start()
        site.start()
        encode(lab, site, 2)
        time.sleep(3)
        moody.mood = "well"
        site.wait_ended(END_S)
        lab.judge(site)
        lab.ran()


def refuses_one(lab: Lab) -> None:
    """0xC000 for one class for good, 0xA700 for a while for the others: those arrive, and the refusal is stated."""
    for _ in range(lab.share(5)):
        moody = Moody(
            mood="some-full", never={SegmentationStorage}, waits=Waits(days=0.0005, timeout=2.0)
        )
        site = lab.site(moody)
        lab.finally_(moody.stop)
        moody.start()
        site.start()
        encode(lab, site, 2)
        time.sleep(2)
        moody.mood = "well"
        site.wait(lambda s=site: not _open(s), END_S)
        for row in site.query("SELECT state, detail FROM delivery"):
            if row["state"] != "dead" or "0xC000" not in row["detail"]:
                site.unforeseen.append(
                    f"a refused object: delivery {row['state']}, {row['detail']}"
                )
        results = len(site.ledger.expected)
        others = len(moody.objects)
        if others != 3 * results:
            site.unforeseen.append(
                f"{others} of {3 * results} objects that were not refused arrived"
            )
        # When the destination takes them, a person says `retry`, and all is there.
        moody.never.clear()
        _retry(site)
        site.wait_ended(60)
        lab.judge(site)
        lab.ran()


def _open(site: Site) -> bool:
    return bool(
        site.query("SELECT id FROM delivery WHERE state NOT IN ('confirmed', 'dead') LIMIT 1")
    )


def _retry(site: Site) -> None:
    import subprocess

    from node.demo import servers

    for series in site.ledger.expected:
        command = [
            servers.command("lumbar-node"),
            "retry",
            series.study,
            "--config",
            str(site.configure()),
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
        if done.returncode != 0:
            site.unforeseen.append(f"retry ended with {done.returncode}: {done.stderr[-200:]}")


_ = (ComprehensiveSRStorage, running)
