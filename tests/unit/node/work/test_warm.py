"""The trial series has everything that a patient's may have, so that nothing is met first by a patient."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from shapely import Polygon

from dicomseg.draw.drawing import Drawing
from dicomseg.measurement_names import MAIN_MEASUREMENTS
from dicomseg.segmentation import Level, NotInView
from dicomseg.volume import Array, Volume
from model.engines.coded import CodedEngine
from model.grid import PAPER_SHAPE
from model.patch import Patch
from node.config.sections import NodeConfig, ResultsConfig
from node.work import warm
from node.work.drawing import OwnHand
from node.work.pipeline import Processed, build_settings, process_series
from node.work.trial import TUBES, trial_model, write_trial

SETTINGS = build_settings(NodeConfig(ae_title="NODE"), ResultsConfig())


class Seen:
    """An artist that keeps what it is given and draws nothing."""

    def begin(self, scene: Any) -> None:
        self.scene = scene

    def finish(self, reading: Any) -> None:
        self.reading = reading

    def drawing(self) -> Drawing:
        raise ValueError("nothing is drawn here")


def _ellipse(name: str, which: int) -> Polygon:
    """The outline of a tube in mm, the left one first."""
    _, x, y, a, b = [t for t in TUBES if t[0] == name][which]
    angle = np.linspace(0, 2 * np.pi, 2000, endpoint=False)
    return Polygon(np.stack([x + a * np.cos(angle), y + b * np.sin(angle)], axis=-1))


def test_every_structure_is_found_and_every_value_measured(tmp_path: Path) -> None:
    hand = Seen()
    done = process_series(
        write_trial(tmp_path), trial_model(), SETTINGS, lambda: datetime(2030, 1, 1, tzinfo=UTC),
        artist=hand,
    )  # fmt: skip
    assert isinstance(done, Processed)
    assert all(s.present for s in done.result.structures.values())
    main = done.result.measurements.main
    assert {n: m.refusal for n, m in main.items()} == dict.fromkeys(MAIN_MEASUREMENTS)
    left, aorta, vein = _ellipse("pm", 0), _ellipse("aa", 0), _ellipse("ivc", 0)
    one_voxel = 1.0  # codes are read from the nearest one, which moves each outline by up to half
    assert main["OC"].value_mm == pytest.approx(left.distance(aorta), abs=one_voxel)
    assert main["PI"].value_mm == pytest.approx(_ellipse("pm", 1).distance(vein), abs=one_voxel)
    assert main["DAA"].value_mm == pytest.approx(14.0, abs=one_voxel)
    assert main["DIVC"].value_mm == pytest.approx(20.0, abs=one_voxel)
    assert isinstance(done.fault, ValueError)
    assert hand.reading.language == "en"
    assert hand.scene.volume.shape == hand.scene.segmentation.sides.shape


def test_trying_out_says_what_could_not_be_drawn() -> None:
    with pytest.raises(ValueError, match="nothing is drawn here"):
        warm.try_out(SETTINGS, Seen())


def test_trying_out_needs_a_folder_for_temporary_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(warm.tempfile, "tempdir", "/nowhere/at/all")
    with pytest.raises(FileNotFoundError):
        warm.try_out(SETTINGS, OwnHand())


@pytest.mark.slow
def test_every_network_runs_once_on_an_image_of_the_usual_size() -> None:
    calls: list[tuple[str, tuple[int, ...]]] = []
    coded = trial_model()

    class Engine(CodedEngine):
        def warm(self, shape: Sequence[int]) -> None:
            calls.append(("warm", tuple(shape)))

        def run(self, patch: Patch) -> Array:
            calls.append(("run", patch.values.shape))
            return super().run(patch)

    class Finder:
        def locate(self, volume: Volume) -> Level | NotInView:
            calls.append(("locate", volume.shape))
            return NotInView()  # as in noise

    warm.warm_networks(replace(coded, engine=Engine(), finder=Finder()))
    assert calls == [
        ("warm", PAPER_SHAPE), ("locate", (128, 320, 320)), ("run", PAPER_SHAPE),
    ]  # fmt: skip
