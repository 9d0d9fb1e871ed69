"""Examples in the documents work: configurations load, commands, options and make targets exist."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer.main

from node.cli.app import app as node_app
from node.config.file import read_config
from training.cli.app import app as train_app

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = [
    p
    for p in sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
    if p.name != "CHANGELOG.md" and "adr" not in p.parts and "experiments" not in p.parts
]
PROGRAMS = {"lumbar-node": node_app, "lumbar-train": train_app}


def blocks(path: Path, language: str) -> list[str]:
    text = path.read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


CONFIGURATIONS = [
    pytest.param(block, id=f"{path.name}-{n}")
    for path in DOCUMENTS
    for n, block in enumerate(blocks(path, "toml"))
    if "[[node.destination]]" in block or "[node]" in block
]


@pytest.mark.parametrize("block", CONFIGURATIONS)
def test_a_configuration_in_a_document_is_valid(block: str, tmp_path: Path) -> None:
    own = "" if "[node]" in block else '[node]\nae_title = "LUMBARNODE"\n'
    path = tmp_path / "config.toml"
    path.write_text(own + block, encoding="utf-8")
    config = read_config(path)
    assert len(config.destinations) == block.count("[[node.destination]]")
    assert len(config.receive.caller) == block.count("[[receive.caller]]")


def test_the_readme_configures_a_node_in_eight_lines() -> None:
    (block,) = blocks(ROOT / "README.md", "toml")
    assert len([line for line in block.splitlines() if line]) == 8
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 80


def commands_in(path: Path) -> Iterator[list[str]]:
    """Command lines of our programs in code blocks and in backticks, split into words."""
    text = path.read_text(encoding="utf-8")
    joined = [re.sub(r"\\\n\s*", "", block) for block in blocks(path, "")]  # continued lines
    lines = [line for block in joined for line in block.splitlines()]
    lines += re.findall(r"`((?:lumbar-node|lumbar-train) [^`\n]+)`", text)
    for line in lines:
        found = re.match(
            r" {0,6}(?:\$ )?(?:\S*/)?(lumbar-(?:node|train)) (.*)", line.split("#")[0].rstrip()
        )
        if found and "…" not in line and "Usage" not in line:
            yield [found[1], *shlex.split(found[2])]


def unknown_parts(words: list[str]) -> list[str]:
    """Return words of a command line that its program does not have: a command or an option."""
    command: Any = typer.main.get_command(PROGRAMS[words[0]])
    rest = words[1:]
    while rest and getattr(command, "commands", None):
        if rest[0] not in command.commands:
            return rest[:1] if not rest[0].startswith("-") else []
        command, rest = command.commands[rest[0]], rest[1:]
    known = {o for p in command.params for o in (*p.opts, *p.secondary_opts)} | {"--help"}
    return [w for w in rest if re.match(r"--?[a-z]", w) and w.split("=")[0] not in known]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_commands_in_a_document_exist(path: Path) -> None:
    assert [(words, bad) for words in commands_in(path) if (bad := unknown_parts(words))] == []


def test_commands_are_found_and_wrong_ones_are_noticed() -> None:
    assert sum(len(list(commands_in(p))) for p in DOCUMENTS) > 60
    assert unknown_parts(["lumbar-node", "explain"]) == ["explain"]
    assert unknown_parts(["lumbar-node", "process", "study", "--sent"]) == ["--sent"]
    assert unknown_parts(["lumbar-node", "models", "list", "--json"]) == []


def test_make_targets_in_documents_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.MULTILINE))
    for path in DOCUMENTS:
        code = "\n".join([*blocks(path, ""), *re.findall(r"`(make [^`\n]+)`", path.read_text())])
        for line in re.findall(r"^make ((?:[a-z-]+ ?)+)", code, re.MULTILINE):
            assert set(line.split()) <= targets, f"{path.name}: make {line}"
