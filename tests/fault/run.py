"""One scenario from its name to its row."""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from pathlib import Path

from tests.fault.broken import Variant
from tests.fault.catalogue import SCENARIOS
from tests.fault.lab import Lab
from tests.fault.objects import Stock
from tests.fault.surroundings import NotPossible
from tests.fault.table import Row


def run(
    name: str,
    folder: Path,
    *,
    scale: float,
    seed: int,
    say: Callable[[str], None] = lambda _: None,
    broken: Variant | None = None,
) -> Row:
    """Run a scenario below a folder. broken: a variant of the product (`tests.fault.broken`) instead of itself."""
    title, scenario = SCENARIOS[name]
    label = name
    if broken is not None:
        label, title = broken.name, broken.title
    began = time.monotonic()
    lab = Lab(name, folder / label, Stock.of(folder / "stock"), scale, seed, say)
    if broken is not None:
        lab.broken, lab.only = broken.replaced, broken.only
    try:
        scenario(lab)
    except NotPossible as error:
        return Row(label, title, skipped=str(error))
    except Exception as error:  # noqa: BLE001 - a scenario that fails is a finding; the others run
        place = traceback.extract_tb(error.__traceback__)[-1]
        text = f"the scenario failed: {type(error).__name__}: {error} ({place.name}:{place.lineno})"
        lab.verdict.add("unexplained", text[:2000])
        say(text)
    finally:
        lab.end()
    if lab.steps:
        lab.notes.insert(0, ", ".join(f"{step} {count}" for step, count in lab.steps.items()))
    return Row.of(label, title, lab.runs, lab.verdict, time.monotonic() - began, lab.notes)
