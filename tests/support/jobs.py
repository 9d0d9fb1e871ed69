"""A training that was planned."""

from __future__ import annotations

from node.journal.job_rows import JobPlan

PLAN = JobPlan("cases", "held.json", margin=0.02, max_hours=1.5)
