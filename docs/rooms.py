"""Count rooms, arrows between them, circles and upward arrows: `python docs/rooms.py`.

A room is what lies directly below a package, a folder or a module of its own; an arrow is a room that
imports another one of its package. A circle is a set of rooms, or of modules, each of which reaches every
other; an upward arrow is one against the layers that `pyproject.toml` declares. Imports for type checkers
are left out, imports inside functions count, as for import-linter.

`--root DIR` counts another checkout. Where it is older than the rooms, `--moves FILE` says with one
`old/path.py new/path.py` a line where each module went, so that both are counted by the same rooms.
"""

from __future__ import annotations

import argparse
import ast
import sys
import tomllib
from collections import defaultdict
from collections.abc import Iterator, Mapping, Set
from pathlib import Path
from typing import Final

PACKAGES: Final = ("node", "dicomseg", "model", "cluster", "training")
COLUMNS: Final = (
    "package", "modules", "longest", "rooms", "arrows", "circles", "modules in circles", "upward",
)  # fmt: skip
Graph = Mapping[str, Set[str]]


def modules_of(root: Path) -> dict[str, Path]:
    """Find every module of the five packages by its dotted name."""
    paths = (p.relative_to(root) for package in PACKAGES for p in (root / package).rglob("*.py"))
    return {".".join(p.with_suffix("").parts).removesuffix(".__init__"): root / p for p in paths}


def imports_of(path: Path, modules: Mapping[str, Path]) -> Iterator[str]:
    """Name the modules of this repository that a file imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    guarded = [n for n in ast.walk(tree) if isinstance(n, ast.If) and "TYPE_CHECKING" in ast.unparse(n.test)]  # fmt: skip
    unseen = {id(inner) for block in guarded for inner in ast.walk(block)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module and id(node) not in unseen:
            for alias in node.names:
                full = f"{node.module}.{alias.name}"
                yield full if full in modules else node.module
        elif isinstance(node, ast.Import) and id(node) not in unseen:
            yield from (alias.name for alias in node.names)


def graph_of(root: Path, renamed: Mapping[str, str]) -> dict[str, set[str]]:
    """Build the graph of modules, each under its new name."""
    modules = modules_of(root)
    graph: dict[str, set[str]] = {renamed.get(name, name): set() for name in modules}
    for name, path in modules.items():
        targets = {renamed.get(m, m) for m in imports_of(path, modules) if m in modules}
        graph[renamed.get(name, name)] |= targets - {renamed.get(name, name)}
    return graph


def rooms_of(graph: Graph, package: str) -> dict[str, set[str]]:
    """Join the modules of one package into its rooms."""
    rooms: dict[str, set[str]] = defaultdict(set)
    for name, targets in graph.items():
        inside = [m for m in (name, *targets) if m.startswith(f"{package}.")]
        if name in inside:
            own = _room(name)
            rooms[own] |= {_room(m) for m in inside} - {own}
    return rooms


def _room(module: str) -> str:
    return module.split(".")[1]


def circles_of(graph: Graph) -> list[set[str]]:
    """Find the sets of two or more nodes that all reach one another."""
    reach = {node: _reached(graph, node) for node in graph}
    circles: list[set[str]] = []
    for node in graph:
        circle = {other for other in reach[node] if node in reach.get(other, ())}
        if len(circle) > 1 and circle not in circles:
            circles.append(circle)
    return circles


def _reached(graph: Graph, start: str) -> set[str]:
    seen: set[str] = set()
    pending = [start]
    while pending:
        fresh = graph.get(pending.pop(), set()) - seen
        seen |= fresh
        pending += fresh
    return seen


def floors_of(root: Path) -> dict[str, dict[str, int]]:
    """Read the floor of every room from the declared layers; the top one is 0."""
    contracts = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]
    floors: dict[str, dict[str, int]] = defaultdict(dict)
    for contract in contracts["contracts"]:
        for package in contract.get("containers", ()):
            for floor, layer in enumerate(contract["layers"]):
                floors[package] |= {room.strip("() "): floor for room in layer.split("|")}
    return floors


def upward(rooms: Graph, floors: Mapping[str, int]) -> list[tuple[str, str]]:
    """List the arrows to a higher floor, and between two rooms of one."""
    arrows = [(a, b) for a, targets in rooms.items() for b in targets]
    return sorted((a, b) for a, b in arrows if floors.get(a, -1) >= floors.get(b, len(floors)))


def row_of(package: str, graph: Graph, longest: int, floors: Mapping[str, int]) -> tuple[str, ...]:
    """Count one package."""
    rooms = rooms_of(graph, package)
    own = {m: t for m, t in graph.items() if m.startswith(f"{package}.")}
    turning = circles_of(own)
    counts = (
        len(own), longest, len(rooms), sum(map(len, rooms.values())), len(circles_of(rooms)),
        sum(map(len, turning)), len(upward(rooms, floors)) if floors else "–",
    )  # fmt: skip
    return package, *map(str, counts)


def table_of(root: Path, renamed: Mapping[str, str]) -> str:
    """Render the counts of one checkout as a Markdown table."""
    graph = graph_of(root, renamed)
    floors = floors_of(Path(__file__).resolve().parents[1] if renamed else root)
    rows = [COLUMNS, tuple("---" for _ in COLUMNS)]
    for package in PACKAGES:
        sizes = [len(p.read_text("utf-8").splitlines()) for p in (root / package).rglob("*.py")]
        rows.append(row_of(package, graph, max(sizes), floors.get(package, {})))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def main() -> int:
    """Print the table, and with `--arrows` every arrow."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[1])
    parser.add_argument("--moves", type=Path, help="one `old/path.py new/path.py` a line")
    parser.add_argument("--arrows", action="store_true", help="list them, room by room")
    options = parser.parse_args()
    lines = options.moves.read_text("utf-8").splitlines() if options.moves else ()
    pairs = (line.split() for line in lines if line.count(".py") == 2)
    renamed = {_dotted(old): _dotted(new) for old, new in pairs}
    sys.stdout.write(f"{table_of(options.root, renamed)}\n")
    if options.arrows:
        graph = graph_of(options.root, renamed)
        for package in PACKAGES:
            for room, targets in sorted(rooms_of(graph, package).items()):
                sys.stdout.write(f"{package}.{room} → {', '.join(sorted(targets)) or '–'}\n")
    return 0


def _dotted(path: str) -> str:
    return path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")


if __name__ == "__main__":
    raise SystemExit(main())
