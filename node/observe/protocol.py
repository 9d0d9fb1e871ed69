"""A sender whose series stopped being eligible: its protocol was changed, or what it sends.

Only from verdicts of the journal. A scanner that a PACS forwards for is distinguished by its Station Name.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from node.journal.figures import Judged

DAY_S: Final = 86_400.0
HISTORY_S: Final = 120 * DAY_S
"""Verdicts that are looked at: a protocol that ran before that is not missed."""
MIN_ACCEPTED: Final = 3
"""Eligible series from which a sender used to send them."""
MIN_SKIPPED: Final = 5
"""Skipped series since the last eligible one, below which there is no alarm: the sender may just be idle."""
USUAL: Final = 20
"""Newest eligible series whose gaps say what is usual."""
SILENCE_S: Final = (3 * DAY_S, 14 * DAY_S)
"""Three times the longest usual gap, but no less and no more than these, is long without an eligible series."""
NEW_REASON_S: Final = DAY_S
"""Shortest silence after which series alarm that are skipped for a reason which the sender did not have before."""


@dataclass(frozen=True, slots=True)
class ProtocolAlarm:
    """One sender. silent_s: since its last eligible series. skipped: series since then.

    reason: why most of them were skipped, of the reasons that are new; "" if none is.
    """

    sender: str
    station: str
    silent_s: float
    skipped: int
    reason: str

    @property
    def where(self) -> str:
        """The sender as people read it."""
        name = self.sender or "an unknown sender"
        return f"{name} (station {self.station})" if self.station else name

    @property
    def sentence(self) -> str:
        """What happened, in one sentence."""
        why = f"now: {self.reason}" if self.reason else "only such as were skipped before"
        return (
            f"no eligible series for {self.silent_s / DAY_S:.0f} days,"
            f" {self.skipped} skipped since; {why}"
        )


REMEDY: Final = "ask the scanner's operators what was changed, or adapt [[select.rule]]"


def protocol_alarms(judged: Sequence[Judged], now: float) -> list[ProtocolAlarm]:
    """Return the senders that used to send eligible series and send others now (pure).

    judged: oldest first, of the last `HISTORY_S`. now: seconds since 1970.
    """
    senders: dict[tuple[str, str], list[Judged]] = {}
    for verdict in judged:
        senders.setdefault((verdict.sender, verdict.station), []).append(verdict)
    found = (_of_sender(*key, rows, now) for key, rows in senders.items())
    return [alarm for alarm in found if alarm is not None]


def _of_sender(
    sender: str, station: str, rows: Sequence[Judged], now: float
) -> ProtocolAlarm | None:
    accepted = sorted(r.at for r in rows if r.accepted)
    if len(accepted) < MIN_ACCEPTED:
        return None
    last, silent_s = accepted[-1], now - accepted[-1]
    known = {r.reason for r in rows if not r.accepted and r.at <= last}
    skipped = [r for r in rows if not r.accepted and r.at > last]
    new = [r.reason for r in skipped if r.reason not in known]
    longest_s = max(b - a for a, b in pairwise(accepted[-USUAL:]))
    usual_s = max(1.5 * longest_s, min(max(3 * longest_s, SILENCE_S[0]), SILENCE_S[1]))
    if len(new) >= MIN_SKIPPED and silent_s > max(NEW_REASON_S, longest_s):
        ((reason, _),) = Counter(new).most_common(1)
        return ProtocolAlarm(sender, station, silent_s, len(skipped), reason)
    if len(skipped) >= MIN_SKIPPED and silent_s > usual_s:
        return ProtocolAlarm(sender, station, silent_s, len(skipped), new[0] if new else "")
    return None
