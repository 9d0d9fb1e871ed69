"""The companion of a worker: draws on another core while the worker measures and encodes.

It gets a `Scene` and builds its surfaces at once; then the `Reading`, and answers with the `Drawing`. It has no
file, no journal and no log, and ends when the pipe from the worker does.
"""

from __future__ import annotations

import faulthandler
import gc
import importlib
import os
import queue
import sys
import threading
from collections.abc import Callable
from functools import partial
from typing import IO, Final

from dicomseg.draw.beside import Beside
from dicomseg.draw.drawing import Drawing, Reading, Scene, draw_pictures, draw_surfaces
from node.faults import describe_error, error_trace
from node.work.drawing import Failed
from node.work.fork import Copies
from node.work.messages import read_message, write_message

READY: Final = "ready"
_LATE: Final = ("page", "surface", "solid_files", "languages")
"""Modules of `dicomseg.draw` that are imported when the first page is drawn."""


class Easel:
    """Draws one scene after the other; a scene without a reading is forgotten when the next one comes."""

    def __init__(self) -> None:
        self._draw: Callable[[Reading, Beside], Drawing] = _no_scene

    def take(self, scene: Scene) -> None:
        """Begin a scene with what needs no measurement; a fault is raised by the reading."""
        try:
            meshes = draw_surfaces(scene)
            self._draw = lambda reading, beside: draw_pictures(scene, reading, meshes, beside)
        except Exception as error:  # noqa: BLE001 - the answer says so
            self._draw = partial(_raise, error)

    def draw(self, reading: Reading) -> Drawing | Failed:
        """End the scene; returns the drawing, or why there is none."""
        draw, self._draw = self._draw, _no_scene
        try:
            # The thread that listens holds nothing that drawing needs.
            with Copies() as copies:
                return draw(reading, copies.run)
        except Exception as error:  # noqa: BLE001 - the worker writes it into the result and the log
            return Failed(describe_error(error), error_trace(error))


def _raise(error: Exception, *_: object) -> Drawing:
    raise error


def _no_scene(*_: object) -> Drawing:
    raise AssertionError("a reading without a scene")


def _listen(pipe: IO[bytes], messages: queue.SimpleQueue[Scene | Reading]) -> None:
    """Read what the worker writes. Its end is ours, in the middle of a drawing too."""
    while True:
        try:
            messages.put(read_message(pipe))
        except (EOFError, OSError):
            os._exit(0)


def main() -> int:
    """Run `python -m node.work.companion_process`; standard input and output are the worker's."""
    faulthandler.enable()
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what a library prints must not get into an answer
    messages: queue.SimpleQueue[Scene | Reading] = queue.SimpleQueue()
    pipe = os.fdopen(os.dup(0), "rb")  # not sys.stdin: its lock would abort the interpreter's end
    threading.Thread(target=_listen, args=(pipe, messages), name="worker", daemon=True).start()
    for name in _LATE:
        importlib.import_module(f"dicomseg.draw.{name}")
    write_message(answers, READY)
    easel = Easel()
    while True:
        message = messages.get()
        if isinstance(message, Scene):
            easel.take(message)
        else:
            write_message(answers, easel.draw(message))
            gc.collect()  # figures are circles of references, and large


if __name__ == "__main__":
    sys.exit(main())
