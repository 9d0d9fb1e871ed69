"""The scenarios by name, in the order of the table."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tests.fault.lab import Lab
from tests.fault.scenarios import disk, fuzz, kills, network, order, peers, proofs, purges

Scenario = Callable[[Lab], None]

SCENARIOS: Final[dict[str, tuple[str, Scenario]]] = {
    "kill-receive": ("killed while receiving", kills.receiving),
    "kill-track": ("killed while tracking and selecting", kills.tracking),
    "kill-work": ("killed while working, 7 times each", kills.working),
    "kill-draw": ("drawing process killed", kills.drawing),
    "kill-deliver": ("killed while delivering", kills.delivering),
    "kill-purge": ("killed while purging", purges.purging),
    "kill-random": ("killed at random", kills.at_random),
    "sync-order": ("order of synchronisation (strace)", order.sync_order),
    "disk-full": ("disk full", disk.full),
    "disk-read-only": ("state read-only", disk.read_only),
    "journal-corrupt": ("page of the journal overwritten", disk.corrupt),
    "spool-lost": ("received files deleted and shortened", disk.spool_lost),
    "clock": ("clock set back and forth", disk.clock),
    "peer-moods": ("destination refuses, is slow, cuts, is silent", peers.moods),
    "peer-away": ("destination away for long", peers.away),
    "peer-loses": ("destination accepts, then loses", peers.loses),
    "peer-refuses": ("0xA700 beside 0xC000", peers.refuses_one),
    "web-moods": ("DICOMweb: refusals, cuts, trickles, other answers", proofs.web_moods),
    "commitment": ("storage commitment: reports in every manner", proofs.commitment),
    "net-cuts": ("associations cut at any byte", network.cuts),
    "net-crowds": ("probes, trickles, floods", network.crowds),
    "net-four": ("four senders without a pause", network.four_senders),
    "fuzz": ("mutated objects and PDUs", fuzz.fuzz),
}

_LONG: Final = ("net-four", "fuzz", "kill-random")
LONGEST_FIRST: Final = (*_LONG, *(n for n in SCENARIOS if n not in _LONG))
"""Order of running side by side, so that none is left alone at the end."""
