"""What the kernel sees: bytes, name, folder and journal are synchronised before the answer leaves."""

from __future__ import annotations

from tests.fault.calls import complaints, traced
from tests.fault.lab import Lab
from tests.fault.objects import GAP
from tests.fault.senders import send


def sync_order(lab: Lab) -> None:
    """Trace the system calls of the serving process while one sender stores objects."""
    site = lab.site()
    site.plan.hold_workers()
    site.start()
    incomplete = lab.series(lab.share(10), GAP)  # ends without a worker
    out = lab.folder / "trace"
    with traced(site.pid, out):
        for series in incomplete:
            send(site.port, series.instances, site.ledger)
    answers, found = complaints(out.read_text(encoding="utf-8", errors="replace"))
    lab.ran(answers)
    if answers != len(site.ledger.answers):
        found.append(f"{answers} answers in the trace, {len(site.ledger.answers)} at the sender")
    for sentence in found:
        lab.verdict.add("unexplained", sentence)
    site.wait_ended(240)
    lab.judge(site)
