from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from dicomseg.encode.uids import ResultKey
from dicomseg.read import header as headers
from dicomseg.read.series import Grid, assemble
from dicomseg.segmentation import EngineInfo, NotInView
from node.config.sections import NodeConfig, ResultsConfig
from node.work import pipeline
from node.work.pipeline import (
    Processed,
    build_settings,
    compute_key,
    process_series,
    settings_after,
)

INFO = EngineInfo("test", "1", "d" * 64, "oracle", "float32")
NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
SETTINGS = build_settings(NodeConfig(ae_title="NODE"), ResultsConfig())


@pytest.fixture
def grid(tmp_path: Path, write_series: Any) -> Grid:
    found = assemble([headers.read_instance(p) for p in write_series(tmp_path / "s")])
    assert isinstance(found, Grid)
    return found


@pytest.fixture
def science(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Stubs of the stages that write down who called them with what."""
    seen = SimpleNamespace(calls=[], run=None, view=SimpleNamespace(timings_s={"network": 1.5}))

    def stage(name: str, answer: Any) -> Any:
        def call(*given: Any) -> Any:
            seen.calls.append(name)
            if name == "encode":
                seen.run = given[0]
            if name == "build":
                seen.timings_s = given[-1]
            return seen.view if name == "segment" else answer

        return call

    source = SimpleNamespace(volume="volume")
    monkeypatch.setattr(pipeline, "read_source", stage("load", source))
    monkeypatch.setattr(pipeline, "sanitised_headers", stage("clean", "headers"))
    monkeypatch.setattr(pipeline, "rehearse", stage("rehearse", None))
    monkeypatch.setattr(pipeline, "segment", stage("segment", None))
    monkeypatch.setattr(pipeline, "measure", stage("measure", "measurements"))
    monkeypatch.setattr(pipeline, "build_result", stage("build", "result"))
    monkeypatch.setattr(pipeline, "encode_all", stage("encode", {"result.json": b"{}"}))
    return seen


def _process(grid: Grid, settings: Any = SETTINGS) -> Processed | NotInView:
    model: Any = SimpleNamespace(info=INFO, model_errors={})
    return process_series(grid, model, settings, lambda: NOW)


def test_stages_in_order_with_their_times(grid: Grid, science: Any) -> None:
    done = _process(grid)
    assert isinstance(done, Processed)
    assert science.calls == ["load", "clean", "rehearse", "segment", "measure", "build", "encode"]
    assert list(science.timings_s) == ["load", "segment", "measure", "segment.network"]
    assert set(done.timings_s) == {"load", "segment", "measure", "encode", "segment.network"}
    assert science.run.created == NOW
    assert done.files == {"result.json": b"{}"}


def test_no_level_in_view_ends_the_way(grid: Grid, science: Any) -> None:
    science.view = NotInView("L4/5 not in the field of view")
    assert _process(grid) == NotInView("L4/5 not in the field of view")
    assert science.calls == ["load", "clean", "rehearse", "segment"]


def test_key_is_known_before_and_the_same_afterwards(grid: Grid, science: Any) -> None:
    done = _process(grid)
    assert isinstance(done, Processed)
    assert done.key == compute_key(grid, INFO, SETTINGS)
    assert science.run.predecessor is None


def test_result_after_another_names_it_and_has_another_identity(grid: Grid, science: Any) -> None:
    first = compute_key(grid, INFO, SETTINGS)
    later = replace(SETTINGS, predecessor=first)
    _process(grid, later)
    assert science.run.key == compute_key(grid, INFO, later) != first
    assert science.run.predecessor == first


def test_predecessor_is_the_latest_and_the_same_input_finds_its_result(grid: Grid) -> None:
    def after(grid: Grid, earlier: list[ResultKey], **how: Any) -> tuple[ResultKey, Any]:
        settings = settings_after(grid, INFO, SETTINGS, earlier, **how)
        return compute_key(grid, INFO, settings), settings.predecessor

    part = replace(grid, instances=grid.instances[:-1])
    first, before = after(part, [])
    assert before is None
    whole, before = after(grid, [first])
    assert before == first
    assert after(grid, [first, whole]) == (whole, first)
    assert after(part, [first, whole]) == (first, None)
    forced, before = after(grid, [first, whole], forced=True)
    assert before == whole
    assert after(grid, [first, whole, forced]) == (forced, whole)
    assert len({first, whole, forced}) == 3
    other = settings_after(grid, replace(INFO, digest="e" * 64), SETTINGS, [first, whole])
    assert other.predecessor == whole


def test_what_changes_bytes_changes_the_key(grid: Grid) -> None:
    first = compute_key(grid, INFO, SETTINGS)
    other_name = build_settings(NodeConfig(ae_title="NODE"), ResultsConfig(model_name="other"))
    other_station = build_settings(NodeConfig(ae_title="NODE", station="S"), ResultsConfig())
    other_port = build_settings(NodeConfig(ae_title="X", port=1), ResultsConfig())
    assert compute_key(grid, INFO, other_name) != first
    assert compute_key(grid, INFO, other_station) != first
    assert compute_key(grid, replace(INFO, precision="bfloat16"), SETTINGS) != first
    assert compute_key(grid, INFO, other_port) == first
    german, without, neither = (
        build_settings(NodeConfig(ae_title="NODE"), ResultsConfig(**more))
        for more in ({"language": "de"}, {"pictures": False}, {"pictures": False, "language": "de"})
    )
    assert len({first, *(compute_key(grid, INFO, s) for s in (german, without))}) == 3
    assert compute_key(grid, INFO, neither) == compute_key(grid, INFO, without)


def test_order_of_the_files_does_not_matter(grid: Grid) -> None:
    turned = replace(grid, instances=grid.instances[::-1])
    assert compute_key(turned, INFO, SETTINGS) == compute_key(grid, INFO, SETTINGS)
