"""Names below the state folder."""

from __future__ import annotations

from typing import Final

JOURNAL: Final = "journal.sqlite"
