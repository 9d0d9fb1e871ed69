"""The reference pages name every configuration key, event, state, refusal and exit status."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
REFERENCE = ROOT / "docs" / "reference"


def page(name: str) -> str:
    return (REFERENCE / f"{name}.md").read_text(encoding="utf-8")


def sources(*packages: str) -> str:
    paths = (p for package in packages for p in sorted((ROOT / package).rglob("*.py")))
    return "\n".join(p.read_text(encoding="utf-8") for p in paths)


def test_every_key_of_the_example_configuration_is_documented_in_its_section() -> None:
    text = (ROOT / "config.toml").read_text(encoding="utf-8")
    text = re.sub(r"^#(\[\[|[a-z_]+ = )", r"\1", text, flags=re.MULTILINE)
    config = tomllib.loads(text)
    tables = {
        "[node]": {k: v for k, v in config["node"].items() if k != "destination"},
        **{f'[[node.destination]] kind = "{d["kind"]}"': d for d in config["node"]["destination"]},
        "[[select.rule]]": config["select"]["rule"][0],
        "[training.schedule]": config["training"]["schedule"],
        **{f"[{s}]": config[s] for s in ("receive", "track", "work", "model", "results")},
    }
    for header, keys in tables.items():
        section = page("config").split(f"## `{header}`\n", 1)[1].split("\n## ", 1)[0]
        missing = [key for key in keys if f"| `{key}` |" not in section]
        assert missing == [], header
    assert len(tables) == 11


def test_every_event_that_is_logged_is_documented() -> None:
    logged = set(re.findall(r"(?:\.event|\blog)\(\s*([A-Z]\w+)\(", sources("node")))
    assert len(logged) >= 15
    assert sorted(e for e in logged if f"| `{e}` |" not in page("events")) == []


def test_every_error_code_is_documented_with_its_exit_status() -> None:
    classes = re.findall(
        r'^    code(?:: str)? = "([a-z_-]+)"(?:\n    exit_code(?:: int)? = (\d))?',
        sources("node", "dicomseg", "model"), re.MULTILINE,
    )  # fmt: skip
    assert len(classes) >= 30
    for code, status in classes:
        row = re.search(rf"^\| `{code}` \| (\d) \|", page("refusals"), re.MULTILINE)
        assert row, code
        assert not status or row[1] == status, code


@pytest.mark.parametrize("status", range(7))
def test_every_exit_status_is_documented(status: int) -> None:
    assert re.search(rf"^\| {status} \| \w", page("exit-codes"), re.MULTILINE)


def test_every_code_of_a_refused_value_is_documented() -> None:
    codes = set(re.findall(r'Refusal\(\s*"([a-z_]+)"', sources("dicomseg/measure")))
    assert len(codes) >= 7
    assert sorted(c for c in codes if f"| `{c}` |" not in page("refusals")) == []


def test_every_command_of_both_programs_is_documented() -> None:
    text = page("cli")
    for line in ("lumbar-node retry", "lumbar-node models promote", "lumbar-train crossval"):
        assert f"\n## {line}\n" in text
    names = re.findall(r"^## lumbar-(?:node|train) (\S+)", text, re.MULTILINE)
    assert len(set(names)) >= 25
