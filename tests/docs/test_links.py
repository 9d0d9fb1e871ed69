"""No sentence points to a document, a file or a heading that is not in the repository."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("node", "dicomseg", "model", "cluster", "training")
LINK = re.compile(r"\]\(([^)\s]+)\)")
PATH = re.compile(
    r"(?<![\w/.$-])((?:node|dicomseg|model|training|tests|docs|orthanc|requirements|benchmarks)/[\w./-]*\w)"
)
"""What looks like a path of the repository, in prose, comments and docstrings."""

MODULE = re.compile(r"`((?:node|dicomseg|model|training)(?:\.[a-z_]\w*)+)[.\w]*`")
"""A module in backticks, possibly with a name inside it."""


@cache
def tracked() -> frozenset[str]:
    run = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    files = [f for f in run.stdout.splitlines() if (ROOT / f).exists()]
    return frozenset([*files, *(str(p) for f in files for p in Path(f).parents)])


def files(*endings: str) -> list[str]:
    return sorted(f for f in tracked() if f.endswith(endings) and (ROOT / f).is_file())


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def anchors(name: str) -> set[str]:
    """Anchors of a document as GitHub makes them from its headings."""
    headings = re.findall(r"^#+ (.+)$", read(name), re.MULTILINE)
    plain = (re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings)
    return {*plain, *re.findall(r'<a id="([^"]+)"', read(name))}


def broken_links(document: str) -> Iterator[str]:
    text = re.sub(r"```.*?```", "", read(document), flags=re.DOTALL)
    for link in LINK.findall(text):
        if re.match(r"[a-z]+:", link):
            continue
        file, _, anchor = link.partition("#")
        target = (ROOT / document).parent / file if file else ROOT / document
        name = str(target.resolve().relative_to(ROOT)) if target.exists() else ""
        if name not in tracked():
            yield f"{document}: no file {link}"
        elif anchor and name.endswith(".md") and anchor not in anchors(name):
            yield f"{document}: no heading {link}"


@pytest.mark.parametrize("document", files(".md"))
def test_links_of_a_document_lead_somewhere(document: str) -> None:
    assert list(broken_links(document)) == []


@pytest.mark.parametrize("ending", [".md", ".py", ".toml", ".sh", ".lua", ".sql", "Makefile"])
def test_paths_in_texts_are_files_of_the_repository(ending: str) -> None:
    missing = set()
    for name in files(ending):
        if name.startswith(("tests/docs/", "docs/adr/0021-")):
            continue
        for path in PATH.findall(re.sub(r"\]\([^)]*\)", "]", read(name))):
            known = {path, f"{path}.py", path.removesuffix(".")} & tracked()
            if not known and not _is_example(path):
                missing.add(f"{name}: {path}")
    assert sorted(missing) == []


def _is_example(path: str) -> bool:
    """Whether a path is no claim: a name with a placeholder, a MIME type, or two words with a slash between them."""
    is_name = "NNNN" in path or path.endswith(".new") or path == "model/stl"
    return is_name or path.split("/")[1] in {*PACKAGES, "dicom"}


@pytest.mark.parametrize("document", files(".md"))
def test_modules_in_a_document_exist(document: str) -> None:
    missing = []
    for dotted in MODULE.findall(read(document)):
        parts = dotted.split(".")
        candidates = ["/".join(parts[:n]) for n in range(2, len(parts) + 1)]
        if not {c for path in candidates for c in (f"{path}.py", path)} & tracked():
            missing.append(dotted)
    assert missing == []


@pytest.mark.parametrize("name", files(".py", ".toml", ".sh"))
def test_decisions_that_are_cited_exist(name: str) -> None:
    known = {Path(f).name[:4] for f in files(".md") if re.match(r"\d{4}-", Path(f).name)}
    assert set(re.findall(r"\bADR (\d{4})\b", read(name))) <= known


def test_every_picture_is_shown_in_a_document() -> None:
    shown = {Path(link).name for name in files(".md") for link in LINK.findall(read(name))}
    assert {Path(f).name for f in files(".png")} <= shown
