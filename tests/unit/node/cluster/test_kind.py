from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest

from dicomseg.segmentation import EngineInfo
from node.cluster.kind import SeenWorker, WorkerKind, choose_team
from node.program import program_version

NODE = WorkerKind("0.2.0", "3.11", "2026.8.0", "d" * 64, "", "")
CPU = replace(NODE, engine="openvino-cpu", precision="float32")
GPU = replace(NODE, engine="torch-cuda", precision="bfloat16")
CARD = {"name": "lumbar-l45", "version": "0.10.0", "digest": "d" * 64}


def _seen(name: str, kind: WorkerKind | None = CPU, doubt: str = "") -> SeenWorker:
    return SeenWorker(f"tls://{name}:1", name, kind, doubt)


def test_a_kind_is_read_back_from_the_resources_of_a_worker() -> None:
    assert WorkerKind.read({"GPU": 1, CPU.resource: 1}) == CPU


@pytest.mark.parametrize(
    "name",
    [
        "GPU",
        "[]",
        "{}",
        "7",
        '{"program": 1}',
        json.dumps({**asdict(CPU), "more": "x"}),
        "{" * 9000,
    ],
)
def test_what_is_not_ours_is_not_a_kind(name: str) -> None:
    assert WorkerKind.read([name]) is None


def test_own_kind_names_this_program() -> None:
    pytest.importorskip("distributed")
    kind = WorkerKind.of(EngineInfo("n", "1", "e" * 64, "torch-cuda", "float16"))
    assert (kind.program, kind.digest) == (program_version(), "e" * 64)
    assert (kind.engine, kind.precision) == ("torch-cuda", "float16")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"program": "0.1.0"}, "version 0.1.0, the node has 0.2.0; install the same wheel"),
        ({"python": "3.12"}, "Python 3.12, the node has 3.11"),
        ({"distributed": "2025.1.0"}, "distributed 2025.1.0, the node has 2026.8.0"),
        ({"digest": "e" * 64}, f"bundle {'e' * 12}, in service is {'d' * 12}; copy that bundle"),
    ],
)
def test_another_worker_is_named_with_what_differs(change: dict[str, str], said: str) -> None:
    team = choose_team([_seen("b", replace(CPU, **change)), _seen("a")], NODE)
    assert team.addresses == ("tls://a:1",)
    (line,) = team.unused
    assert line.startswith(f"b: {said}")


def test_the_larger_group_computes_and_the_rest_is_named() -> None:
    team = choose_team([_seen("c", GPU), _seen("a"), _seen("b")], NODE)
    assert (team.kind, team.addresses) == (CPU, ("tls://a:1", "tls://b:1"))
    assert team.unused == (
        "c: computes on torch-cuda in bfloat16, most on openvino-cpu in float32; make them the same",
    )
    capacity = team.capacity(CARD)
    assert [team.capacity(CARD, most).slots for most in (0, 1, 2, 3)] == [2, 1, 2, 2]
    assert capacity.slots == 2
    assert capacity.info == EngineInfo("lumbar-l45", "0.10.0", "d" * 64, "openvino-cpu", "float32")


def test_the_choice_does_not_depend_on_the_order() -> None:
    workers = [_seen("c", GPU), _seen("a")]
    assert choose_team(workers, NODE) == choose_team(workers[::-1], NODE)


def test_doubtful_and_foreign_workers_get_nothing() -> None:
    team = choose_team([_seen("a", doubt="no sign of life"), _seen("b", None)], NODE)
    assert team.capacity(CARD).slots == 0
    assert team.capacity(CARD).info is None
    assert team.unused == ("a: no sign of life", "b: not a worker of this program")
