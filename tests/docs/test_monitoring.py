"""The example alerts and the dashboard ask only for metrics and labels that the node has."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from node.metrics.catalogue import METRICS

FOLDER = Path(__file__).parents[2] / "deploy" / "monitoring"
ALERTS = FOLDER / "lumbar-node-alerts.yml"
DASHBOARD = FOLDER / "grafana-dashboard.json"
OF_PROMETHEUS = {"instance", "job", "le"}
"""Labels that Prometheus adds, and the bound of a bucket."""
BY_NAME = {m.name: m for m in METRICS}
METRIC = re.compile(r"\b((?:lumbar_node|process)_[a-z_]+)(\{[^}]*\})?")
BUCKET = re.compile(r"_(bucket|sum|count)$")
RULE = re.compile(
    r"      - alert: (?P<name>\w+)\n        expr: (?P<expr>.+)\n(?:        for: \d+[mhd]\n)?"
    r"        labels:\n          severity: (?P<severity>\w+)\n        annotations:\n          summary: \"(?P<summary>.+)\"\n"
)


def _rules() -> list[dict[str, str]]:
    return [m.groupdict() for m in RULE.finditer(ALERTS.read_text(encoding="utf-8"))]


def _queries() -> list[tuple[str, str]]:
    """Return the title and query of every panel."""
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    return [(p["title"], t["expr"]) for p in panels for t in p["targets"]]


EXPRESSIONS = [(r["name"], r["expr"]) for r in _rules()] + _queries()


@pytest.mark.parametrize(("name", "expression"), EXPRESSIONS)
def test_query_names_metrics_and_labels_of_the_catalogue(name: str, expression: str) -> None:
    found = METRIC.findall(expression)
    assert found or expression.startswith("up{"), name
    labels = set(OF_PROMETHEUS)
    for metric, selector in found:
        known = BY_NAME.get(metric) or BY_NAME.get(BUCKET.sub("", metric))
        assert known is not None, f"{metric} is no metric"
        assert (known.kind == "histogram") == (metric not in BY_NAME), metric
        labels |= set(known.labels)
        own = {*known.labels, *OF_PROMETHEUS}
        assert set(re.findall(r"([a-z_]+)(?:=~?|!~|!=)", selector)) <= own, selector
    for group in re.findall(r"\bby \(([^)]*)\)", expression):
        assert set(re.split(r",\s*", group)) <= labels, group
    counters = [m for m, _ in found if m.endswith("_total") and not m.startswith("process_")]
    assert all(re.search(rf"(?:rate|increase)\({m}", expression) for m in counters), (
        "a counter is counted by rate"
    )
    assert expression.count("(") == expression.count(")")


def test_every_alert_is_read_and_says_what_to_do() -> None:
    rules = _rules()
    assert len(rules) == ALERTS.read_text(encoding="utf-8").count("- alert:")
    assert len({r["name"] for r in rules}) == len(rules)
    for rule in rules:
        assert rule["severity"] in {"critical", "warning", "info"}
        used = set(re.findall(r"\$labels\.(\w+)", rule["summary"]))
        metric = METRIC.search(rule["expr"])
        assert used <= set(BY_NAME[metric[1]].labels if metric else ()), rule["name"]
        assert rule["summary"].endswith((".", "ago."))


def test_event_names_of_the_alerts_exist() -> None:
    from node import events

    named = set(re.findall(r'event="(\w+)"', ALERTS.read_text(encoding="utf-8")))
    assert named
    assert all(hasattr(events, name) for name in named)


def test_events_that_the_administrator_reads_of_exist() -> None:
    from node import events

    text = (FOLDER.parents[1] / "docs" / "operations.md").read_text(encoding="utf-8")
    rows = text.partition("| event | what to do |")[2].partition("\n\n")[0]
    named = re.findall(r"`([A-Z]\w+)`", rows)
    assert len(named) > 10
    assert [name for name in named if not hasattr(events, name)] == []


def test_panels_do_not_overlap_and_every_one_has_a_query() -> None:
    panels = json.loads(DASHBOARD.read_text(encoding="utf-8"))["panels"]
    cells: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        area = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert max(x for x, _ in area) < 24
        assert not cells & area, panel["title"]
        cells |= area
        assert panel["targets"]
    assert len({p["id"] for p in panels}) == len(panels)


@pytest.mark.process
@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool is not installed")
def test_promtool_reads_alerts_and_queries(tmp_path: Path) -> None:
    subprocess.run(["promtool", "check", "rules", str(ALERTS)], check=True, capture_output=True)
    rules = "".join(
        f"      - record: q{n}\n        expr: {json.dumps(expr.replace('$instance', '.*'))}\n"
        for n, (_, expr) in enumerate(_queries())
    )
    (tmp_path / "queries.yml").write_text(f"groups:\n  - name: q\n    rules:\n{rules}")
    subprocess.run(
        ["promtool", "check", "rules", str(tmp_path / "queries.yml")],
        check=True,
        capture_output=True,
    )
