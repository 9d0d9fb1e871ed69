"""Check the words of messages, docstrings, help and documents against the style rules of CONTRIBUTING.md.

`python docs/words.py [PATH …]` prints each finding and exits 1 if there is one; `--rooms` prints the
number of findings per room. Tests are read only where a path names them.
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import subprocess
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]

BANNED = {
    r"told": "reported, given, known, or the noun itself",
    r"said": "reported, stated",
    r"stands": "is, lies, is written",
    r"(?:goes|went|gone|going) on": "continues",
    r"anew": "again",
    r"once more": "again",
    r"whole(?! numbers?\b| Slide\b)": "intact, complete, entire",
    r"at it": "in progress",
    r"the way of": "pipeline for, path of",
    r"by hand": "manually",
    r"no \w+ (?:is|are) (?:an?|one|the|any)": "X is not Y",
    r"of before": "earlier",
    r"nobody(?:'s)?": "no user, nothing, not …",
    r"somebody(?:'s)?": "a user, a person",
    r"the ones? that": "which",
}
"""Pattern of words that a reader stumbles over, and what to write instead (CONTRIBUTING.md)."""

AMERICAN = {
    "color": "colour",
    "colored": "coloured",
    "behavior": "behaviour",
    "center": "centre",
    "centered": "centred",
    "gray": "grey",
    "labeled": "labelled",
    "labeling": "labelling",
    "normalize": "normalise",
    "normalized": "normalised",
    "normalization": "normalisation",
    "recognize": "recognise",
    "recognized": "recognised",
    "initialize": "initialise",
    "initialized": "initialised",
    "summarize": "summarise",
    "optimize": "optimise",
    "anonymize": "anonymise",
    "anonymized": "anonymised",
    "randomized": "randomised",
    "neighbor": "neighbour",
    "neighbors": "neighbours",
    "canceled": "cancelled",
    "modeling": "modelling",
    "artifact": "artefact",
    "artifacts": "artefacts",
}
"""American spelling in prose, and ours; DICOM's keywords keep their own."""

PATTERN = re.compile(rf"\b(?:(?i:{'|'.join(BANNED)})|{'|'.join(AMERICAN)})\b")
NAME = re.compile(r"(?:^|_)told(?:_|$)")


def checked_files(chosen: list[str]) -> list[Path]:
    """Return the files of the repository whose words are read; tests are not among them."""
    listed = subprocess.run(
        ["git", "ls-files", "--", *(chosen or ["."])],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    readable = [p for p in listed if p.endswith((".py", ".md", ".toml", "Makefile"))]
    left_out = ("docs/words.py", "tests/docs/test_words.py", *(() if chosen else ("tests/",)))
    return [ROOT / p for p in readable if not p.startswith(left_out)]


def python_texts(source: str) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of docstrings, sentences and comments, and of every identifier that holds `told`."""
    docstrings: set[int] = set()
    tree = ast.parse(source)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):
            docstrings |= {id(s.value) for s in body if isinstance(s, ast.Expr)}
        names = (getattr(node, field, None) for field in ("id", "arg", "attr"))
        if any(isinstance(name, str) and NAME.search(name) for name in names):
            yield getattr(node, "lineno", 0), "told"
        value = node.value if isinstance(node, ast.Constant) else None
        if isinstance(value, str) and (id(node) in docstrings or " " in value):
            first = getattr(node, "lineno", 0)
            yield from enumerate(value.split("\n"), first)
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            yield token.start[0], token.string


def document_texts(source: str, suffix: str) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of a document without its code and link targets; of other files the comments."""
    fenced = False
    for number, line in enumerate(source.split("\n"), 1):
        if suffix == ".md":
            if line.lstrip().startswith("```"):
                fenced = not fenced
            text = "" if fenced else re.sub(r"`[^`]*`|\]\([^)]*\)|<[^>]*>", "", line)
        else:
            text = line[line.index("#") :] if "#" in line else ""
        yield number, text


def findings(path: Path) -> list[tuple[int, str, str]]:
    """Return (line, word, text) of every word of the list in one file."""
    source = path.read_text(encoding="utf-8")
    python = path.suffix == ".py"
    texts = python_texts(source) if python else document_texts(source, path.suffix)
    return [
        (line, match[0], " ".join(text.split()))
        for line, text in texts
        for match in PATTERN.finditer(re.sub(r"`[^`]*`", "", text))
    ]


def room_of(path: Path) -> str:
    """Return the folder in which a file is counted: `node/work`, `docs`; for a file at the top its name."""
    parts = path.relative_to(ROOT).parts
    return "/".join(parts[:2]) if len(parts) > 2 else parts[0]


def main() -> int:
    """Print findings or counts; exit 1 if a word of the list was used."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="*", help="files or folders; everything without one")
    parser.add_argument("--rooms", action="store_true", help="count findings per room")
    options = parser.parse_args()
    rooms: Counter[str] = Counter()
    for path in checked_files(options.paths):
        for line, word, text in findings(path):
            rooms[room_of(path)] += 1
            if not options.rooms:
                sys.stdout.write(f"{path.relative_to(ROOT)}:{line}: {word!r} in: {text[:100]}\n")
    for room, count in sorted(rooms.items()) if options.rooms else ():
        sys.stdout.write(f"{count:5d}  {room}\n")
    return 1 if rooms else 0


if __name__ == "__main__":
    raise SystemExit(main())
