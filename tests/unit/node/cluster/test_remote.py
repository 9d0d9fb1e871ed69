from __future__ import annotations

import os
from typing import Any

import pytest

from dicomseg.errors import SeriesRefused
from dicomseg.segmentation import EngineInfo, NotInView
from node.cluster import remote
from node.cluster.packed import Packed
from node.cluster.remote import OVERDUE, Raised, compute, serve_model
from tests.support.machines import FRAME, INFO, assert_same, image, model, segmented


@pytest.fixture
def told() -> list[str]:
    """Names of the tasks that the process said to have begun."""
    return []


@pytest.fixture
def found(told: list[str], monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What the segmentation returns, or raises; the process has a model."""
    answers: list[Any] = []

    def segment(volume: Any, loaded: Any) -> Any:
        answer = answers.pop(0)
        if isinstance(answer, BaseException):
            raise answer
        return answer

    monkeypatch.setattr(remote, "segment", segment)
    monkeypatch.setattr(remote._SERVED, "model", None)
    serve_model(model(), told.append)
    return answers


def test_a_segmentation_comes_packed_and_not_in_view_as_it_is(found: list[Any]) -> None:
    found += [segmented(image(2)), NotInView()]
    packed = compute(image(2), INFO, 60.0, "w1-1")
    assert isinstance(packed, Packed)
    assert_same(packed.unpacked(FRAME), segmented(image(2)))
    assert compute(image(2), INFO, 60.0, "w1-1") == NotInView()


def test_what_begins_is_told_before_anything_can_end_the_process(
    found: list[Any], told: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    known: list[list[str]] = []
    monkeypatch.setattr(remote, "segment", lambda *_: known.append([*told]) or NotInView())
    assert compute(image(), INFO, 60.0, "w1-7") == NotInView()
    assert known == [["w1-7"]]


def test_an_error_is_a_value_so_that_no_other_worker_tries(found: list[Any]) -> None:
    found.append(SeriesRefused("no level"))
    raised = compute(image(), INFO, 60.0, "w1-1")
    assert isinstance(raised, Raised)
    assert isinstance(raised.error, SeriesRefused)


@pytest.mark.parametrize("change", [{"digest": "e" * 64}, {"engine": "torch-cuda"}])
def test_a_task_for_another_bundle_or_engine_is_not_computed(
    found: list[Any], change: dict[str, str]
) -> None:
    asked = EngineInfo(**{**dict(name="test", version="1", digest="d" * 64, engine="openvino-cpu", precision="float32"), **change})  # fmt: skip  # noqa: C408
    raised = compute(image(), asked, 60.0, "w1-1")
    assert isinstance(raised, Raised)
    assert "another kind" in str(raised.error)


class _Ended(BaseException):
    pass


def test_without_memory_the_process_ends(found: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    def end(code: int) -> None:
        assert code == OVERDUE
        raise _Ended

    monkeypatch.setattr(os, "_exit", end)
    found.append(MemoryError())
    with pytest.raises(_Ended):
        compute(image(), INFO, 60.0, "w1-1")
