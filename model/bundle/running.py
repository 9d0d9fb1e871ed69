"""The networks of a bundle ready to run, from the converted graphs that it holds; needs no torch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from model.bundle.card import LEVEL_WEIGHTS, ROOTS_WEIGHTS, WEIGHTS, graph_of
from model.engines.graph_file import ConvertedGraph
from model.engines.openvino_cpu import OpenVinoEngine, OpenVinoGraph
from model.engines.port import Engine
from model.errors import BundleError
from model.level.finder import LevelFinder, NetworkFinder
from model.networks.sizes import RootsArchitecture
from model.roots import RootsRefiner

LEVEL_SHAPES: Final = 5
"""Compiled shapes of the level network that are kept: a doubtful image is searched turned and enlarged too."""


@dataclass(frozen=True, slots=True)
class RunningNetworks:
    """Engine, level finder and roots refiner of a bundle; `note` is one line about what was missed, else empty."""

    engine: Engine
    finder: LevelFinder
    roots: RootsRefiner | None = None
    note: str = ""


def holds_graphs(folder: Path, card: Mapping[str, Any]) -> bool:
    """Whether the bundle holds a graph of every network that its card names."""
    names = [WEIGHTS, LEVEL_WEIGHTS, *([ROOTS_WEIGHTS] if "roots_architecture" in card else [])]
    return all((folder / graph_of(name)).exists() for name in names)


def run_graphs(folder: Path, card: Mapping[str, Any], threads: int) -> RunningNetworks:
    """Read the bundle's graphs, check each by the output it was stored with, and return them ready to run.

    Raises:
        BundleError: a graph cannot be read, or the card does not describe the roots network.
        EngineError: openvino is missing or damaged, or a graph answers otherwise than torch did.
    """

    def graph(weights: str, kept: int = 1) -> OpenVinoGraph:
        converted = ConvertedGraph.read(folder / graph_of(weights))
        return OpenVinoGraph(converted, threads, kept=kept)

    engine = OpenVinoEngine(graph(WEIGHTS))
    finder = NetworkFinder(graph(LEVEL_WEIGHTS, LEVEL_SHAPES).infer)
    if "roots_architecture" not in card:
        return RunningNetworks(engine, finder)
    try:
        architecture = RootsArchitecture.from_dict(dict(card["roots_architecture"]))
    except (LookupError, TypeError, ValueError) as error:
        raise BundleError(
            f"{folder}: the card does not describe the roots network ({error}); export the bundle again"
        ) from error
    roots = graph(ROOTS_WEIGHTS)
    return RunningNetworks(engine, finder, RootsRefiner(roots.infer, architecture, roots.warm))
