"""What of the self-test needs attention: its last run failed or drifted, or it has not run for days."""

from __future__ import annotations

from typing import Final

from node.clock import at_text
from node.config.sections import Config
from node.observe.attention import Matter
from node.observe.tls import tls_matters
from node.store.selftest_history import SelftestRow, read_history

SILENT_S: Final = 3 * 86_400.0
"""A daily self-test that a busy node put off for three days is worth a look."""
_REMEDY: Final = "`lumbar-node selftest --trend`; after an intended change `lumbar-node selftest --new-reference`"


def selftest_matters(config: Config, now: float) -> list[Matter]:
    """Return what needs attention; now: seconds since 1970."""
    rows = read_history(config.node.state)
    if not rows:
        return []
    found = _of_last(rows[-1])
    if config.selftest.at and now - rows[-1].at > SILENT_S:
        reason = f"no self-test since {at_text(rows[-1].at)}"
        found.append(Matter("selftest", "selftest", "overdue", reason, "`lumbar-node selftest` runs it now"))  # fmt: skip
    return found


def _of_last(row: SelftestRow) -> list[Matter]:
    if row.outcome == "passed":
        return []
    return [Matter("selftest", "selftest", row.outcome, row.reason, _REMEDY)]


def site_matters(config: Config, now: float) -> list[Matter]:
    """Return what needs attention and is in no row of the journal: `[tls]` and the self-test."""
    return [*tls_matters(config, now), *selftest_matters(config, now)]
