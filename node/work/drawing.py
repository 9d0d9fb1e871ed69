"""Who draws: the process that asks, or a companion beside it (`node.work.companion`)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from dicomseg.draw.drawing import Drawing, Reading, Scene, draw_pictures, draw_surfaces


class Artist(Protocol):
    """Draws one result after the other: `begin`, `finish`, then `drawing`."""

    def begin(self, scene: Scene) -> None:
        """Take what is to be drawn, before it is measured; an earlier scene that was not drawn is forgotten."""
        ...

    def finish(self, reading: Reading) -> None:
        """Take what was measured of the scene."""
        ...

    def drawing(self) -> Drawing:
        """Return what was drawn. Raises what drawing raises, or `DrawingFailed`."""
        ...


@dataclass(frozen=True, slots=True)
class Failed:
    """Why nothing was drawn: one line without a value of the data, and where, as `error_trace` returns it."""

    text: str
    trace: tuple[str, ...] = ()


class OwnHand:
    """Draws in this process, when the drawing is asked for."""

    def __init__(self) -> None:
        self._scene: Scene | None = None
        self._reading: Reading | None = None

    def begin(self, scene: Scene) -> None:
        """Keep the scene."""
        self._scene, self._reading = scene, None

    def finish(self, reading: Reading) -> None:
        """Keep the reading."""
        self._reading = reading

    def drawing(self) -> Drawing:
        """Draw."""
        scene, reading = self._scene, self._reading
        self._scene = self._reading = None
        if scene is None or reading is None:
            raise AssertionError("drawing needs a scene and its reading")
        return draw_pictures(scene, reading, draw_surfaces(scene))


@dataclass(slots=True, eq=False)
class Pictures:
    """The drawing of one result, beside its measuring: what goes wrong is raised by `drawing` alone.

    language: of the page; None where nothing is to be drawn.
    """

    artist: Artist
    language: str | None
    _fault: Exception | None = None

    @property
    def wanted(self) -> bool:
        """Whether anything is to be drawn."""
        return self.language is not None

    def begin(self, scene: Scene) -> None:
        """Hand over what is to be drawn."""
        if self.language is None:
            return
        try:
            self.artist.begin(scene)
        except Exception as error:  # noqa: BLE001 - nothing in drawing may cost the measured result
            self._fault = error

    def finish(self, reading: Callable[[str], Reading]) -> None:
        """Hand over what was measured. reading: makes it in the page's language."""
        if self.language is None or self._fault is not None:
            return
        try:
            self.artist.finish(reading(self.language))
        except Exception as error:  # noqa: BLE001 - as above
            self._fault = error

    def drawing(self) -> Drawing:
        """Return what was drawn. Raises whatever kept it from being drawn."""
        if self._fault is not None:
            raise self._fault
        return self.artist.drawing()
