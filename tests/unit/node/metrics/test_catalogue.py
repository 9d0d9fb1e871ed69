from __future__ import annotations

import re

from node.metrics.catalogue import METRICS

UNITS = ("_seconds", "_bytes", "_total", "_info", "_meters", "_seconds_total", "_bytes_total")
COUNTED = re.compile(r"lumbar_node_(objects|series|queue_length|deferred_series|deliveries|pulls|corrections|cluster_slots|selftest_passed|live|ready|workers|workers_ready|attention|protocol_alarm|info)|process_open_fds")  # fmt: skip


def test_names_are_those_that_prometheus_expects() -> None:
    names = [m.name for m in METRICS]
    assert len(set(names)) == len(names)
    for metric in METRICS:
        assert metric.name.startswith(("lumbar_node_", "process_"))
        assert (metric.kind == "counter") == metric.name.endswith("_total")
        assert metric.name.endswith(UNITS) or COUNTED.fullmatch(metric.name), metric.name
        assert metric.help.endswith("."), metric.name
        assert all(re.fullmatch(r"[a-z_]+", label) and label != "le" for label in metric.labels)
