"""Simulate a hospital group's day and find where each limit lies: numbers, tables and plots of `docs/scaling.md`.

    python docs/scaling.py && python docs/generate.py
    python docs/scaling.py --times STATE/journal.sqlite --out FOLDER
    python docs/scaling.py --out FOLDER --core-hour 0.03 --card-hour 0.8 --gb-month 0.01

Without `--out` it writes `docs/scaling.json`, from which `docs/generate.py` makes the tables, and the plots below
`docs/images`; with it, the tables as `scaling.md`, the numbers and the plots into FOLDER. `--times` takes results
(`result.json`) or a node's journal instead of this repository's measurements. Needs simpy (`make install`) and
takes about three minutes of one core.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import scaling_plots
import scaling_tables
import scaling_times as t
from scaling_day import Failure, Service, Site, arrivals, most_per_day, run_days, simulate

LIMIT_S: Final = 600.0
"""Age that 99 of 100 studies must not exceed: from the first object at the node to the last one delivered."""
SEED: Final = 20261201
USUAL: Final = (200, 2000)
"""Studies a day for which ages are given: a hospital group, and ten of them."""
SLOTS: Final = (1, 2, 4, 8)
SLOWER: Final = (1, 4, 16)
"""Times of a slot, relative to today's: models that might come; the last is in the table and the second plot."""
LEVELS: Final = (0.3, 0.6, 0.8, 0.9, 1.0, 1.1)
"""Studies a day in the second plot, relative to the most of its first setup, per slot."""

DIES: Final = Failure(t.EVERY.value, 1.0, t.START.value + 1.0)
"""A worker's process ends: noticed at once, another is ready after its start."""
LOST: Final = Failure(t.EVERY.value, t.SILENT.value, t.AWAY.value, machine=True)
"""A machine is gone without a word."""


@dataclass(frozen=True, slots=True)
class Setup:
    """One line of the table. cores: of all machines. far: studies are computed on another machine."""

    name: str
    site: Site
    cores: int
    far: bool = False

    def service(self, base: Service) -> Service:
        """Return the service of a slot of this setup."""
        if self.site.pairs:
            return t.networks_away(base)
        service = t.sent_away(base) if self.far else base
        return t.on_a_card(service) if self.site.cards else service


SETUPS: Final[Sequence[Setup]] = (
    Setup("1 box, 2 cores, 1 slot", Site(1, 1), 2),
    Setup("the same, a worker dies every 6 h", Site(1, 1, failure=DIES), 2),
    Setup("the same, the box is away for 10 min every 6 h", Site(1, 1, failure=LOST), 2),
    Setup("1 box, 8 cores, 4 slots", Site(1, 4), 8),
    Setup("the same, each worker dies every 6 h", Site(1, 4, failure=DIES), 8),
    Setup("1 box, 8 cores, 4 slots, 1 GPU (assumed)", Site(1, 4, cards=1), 8),
    Setup("2 nodes, 4 cores and 2 slots each", Site(2, 2), 8, far=True),
    Setup("the same, each worker dies every 6 h", Site(2, 2, failure=DIES), 8, far=True),
    Setup("the same, a node is lost for 10 min every 6 h", Site(2, 2, failure=LOST), 8, far=True),
    Setup(
        "1 node of 4 cores, networks on 2 slots elsewhere (`dask`)", Site(1, 3, cards=2, pairs=2), 8
    ),
)


PLOTTED: Final = (0, 1, 2, 3, 8)
"""Setups of the second plot."""


def ages(per_day: float, setup: Setup, base: Service) -> dict[str, float]:
    """Return median, 99th percentile and greatest age in seconds, lost claims, and use in the busiest hour."""
    outcome = run_days(per_day, setup.site, setup.service(base), t.HOURS, SEED)
    shares = {"p50": 0.5, "p99": 0.99, "worst": 1.0}
    found = {name: round(outcome.age_s(share), 1) for name, share in shares.items()}
    return found | {"lost": outcome.lost, "busiest": round(outcome.busiest, 3)}


def row(setup: Setup, base: Service) -> dict[str, Any]:
    """Return one line of the table: the most studies a day, today and with the slowest model, and ages."""
    service, slow = setup.service(base), setup.service(slower(base, SLOWER[-1]))
    return {
        "name": setup.name,
        "most": most_per_day(setup.site, service, t.HOURS, LIMIT_S, SEED),
        "most_slow": None
        if setup.site.cards
        and not setup.site.pairs  # how much faster a card would run such a model is not known
        else most_per_day(setup.site, slow, t.HOURS, LIMIT_S, SEED),
        "ages": {str(n): ages(n, setup, base) for n in USUAL},
    }


def slower(base: Service, factor: float) -> Service:
    """Return the service of a model that holds its slot this many times as long."""
    return replace(base, segment_s=base.segment_s + (factor - 1) * base.slot_s)


def curves(base: Service) -> dict[str, Any]:
    """Return the most studies a day by slots, for today's and slower models; receiving is left out."""
    alone = replace(base, receive_s=0.0, deliver_s=0.0)
    found = {}
    for factor in SLOWER:
        slow = slower(alone, factor)
        most = [most_per_day(Site(1, n), slow, t.HOURS, LIMIT_S, SEED) for n in SLOTS]
        found[f"{slow.slot_s:.1f}"] = most
    return {"slots": list(SLOTS), "most": found}


def loads(base: Service, most: int) -> dict[str, Any]:
    """Return the 99th percentile of the age by studies a day and slot, with the slowest model.

    most: of one slot.
    """
    slow = slower(base, SLOWER[-1])
    numbers = [round(share * most) for share in LEVELS]
    p99 = {}
    for place in PLOTTED:
        site = SETUPS[place].site
        slots = site.machines * site.slots
        p99[str(place)] = [ages(n * slots, SETUPS[place], slow)["p99"] for n in numbers]
    return {"per_day_and_slot": numbers, "p99": p99}


def trace(base: Service, most: int) -> dict[str, Any]:
    """Return the greatest age in every tenth of an hour of a day, one slot, at shares of the most."""
    found = {}
    for share in (0.8, 1.0, 1.1):
        came = arrivals(share * most, t.HOURS, SEED)
        outcome = simulate(came, SETUPS[0].site, base, SEED)
        top = [0.0] * 240
        for at, age in zip(came, outcome.ages_s, strict=True):
            part = int(at // 360)
            top[part] = max(top[part], age or 0.0)
        found[f"{share:g}"] = [round(age, 1) for age in top]
    return found


def simulated(base: Service) -> dict[str, Any]:
    """Run everything; the same service and seed give the same numbers."""
    rows = [row(setup, base) for setup in SETUPS]
    return {
        "seed": SEED,
        "limit_s": LIMIT_S,
        "slot_s": round(base.slot_s, 2),
        "slow_slot_s": round(slower(base, SLOWER[-1]).slot_s, 1),
        "receive_s": round(base.receive_s, 3),
        "deliver_s": base.deliver_s,
        "setups": rows,
        "curves": curves(base),
        "loads": loads(base, rows[0]["most_slow"]),
        "trace": trace(base, rows[0]["most"]),
    }


def main() -> None:
    """Simulate and write."""
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n", maxsplit=1)[0] if __doc__ else ""
    )
    parser.add_argument("--times", type=Path, nargs="+", help="result.json files or a journal")
    parser.add_argument("--out", type=Path, help="folder for tables, numbers and plots")
    for name, price in scaling_tables.PRICES.items():
        parser.add_argument(f"--{name}", type=float, default=price)
    options = parser.parse_args()
    if options.times and options.out is None:
        parser.error("--times needs --out: the documents hold this repository's measurements")
    base = t.service_of(options.times) if options.times else t.measured()
    found = simulated(base)
    prices = {name: getattr(options, name.replace("-", "_")) for name in scaling_tables.PRICES}
    folder = options.out or scaling_tables.NUMBERS.parent
    folder.mkdir(parents=True, exist_ok=True)
    text = json.dumps(found, indent=1) + "\n"
    (folder / "scaling.json").write_text(text, encoding="utf-8")
    if options.out:
        (folder / "scaling.md").write_text(scaling_tables.page(found, prices), encoding="utf-8")
    scaling_plots.draw(found, folder if options.out else folder / "images")


if __name__ == "__main__":
    main()
