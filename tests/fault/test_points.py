"""Every step at which the node is killed, and every function that a broken variant replaces, exists."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.fault import broken, points
from tests.fault.catalogue import SCENARIOS
from tests.fault.plan import Kill, Plan

NAMED = {
    *(p.at for p in points.ALL),
    *(at for v in broken.VARIANTS.values() for _, at in v.replaced),
    *(at for _, at in (*broken.SWIFT, *broken.REMEMBERING)),
}


@pytest.mark.parametrize("at", sorted(NAMED))
def test_patch_point_exists(at: str) -> None:
    module, _, name = at.partition(":")
    owner = importlib.import_module(module)
    *path, last = name.split(".")
    for part in path:
        owner = getattr(owner, part)
    assert last in vars(owner), f"{at}: name the function that does this step now"


def test_steps_and_variants_have_one_name_each() -> None:
    assert len({p.step for p in points.ALL}) == len(points.ALL)
    for variant in broken.VARIANTS.values():
        assert variant.scenario in SCENARIOS
        assert all(hasattr(broken, name) for name, _ in variant.replaced)


def _python(plan: Plan, code: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **plan.write()}
    return subprocess.run(
        [sys.executable, "-c", code, "--", " serve"],
        env=environment, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


def test_a_step_that_is_gone_ends_the_process_with_a_line(tmp_path: Path) -> None:
    gone = points.Point("gone", "node.backoff:no_such_function", "before", "serve")
    done = _python(Plan(tmp_path, [Kill(gone)]), "import node.backoff")
    assert done.returncode == 97
    assert "no_such_function does not exist" in done.stderr


def test_a_kill_comes_at_its_call_and_once_in_all_lives(tmp_path: Path) -> None:
    point = points.Point("wait", "node.backoff:wait_s", "after", "serve")
    plan = Plan(tmp_path, [Kill(point, nth=2)])
    code = "from node.backoff import wait_s\nfor n in (1, 2, 3): print(wait_s(n, 1, 9), flush=True)"
    first = _python(plan, code)
    assert (first.returncode, first.stdout.split()) == (-9, ["1.0"])
    assert plan.fired(point) == 1
    again = subprocess.run(
        [sys.executable, "-c", code, " serve"],
        env={**os.environ, "FAULT_PLAN": str(tmp_path / "plan1.json"), "PYTHONPATH": plan_path()},
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (again.returncode, again.stdout.split()) == (0, ["1.0", "2.0", "4.0"])


def plan_path() -> str:
    from tests.fault.plan import LAUNCH
    from tests.support.paths import ROOT

    return os.pathsep.join([str(LAUNCH), str(ROOT)])


def test_the_clock_of_a_process_is_turned_while_it_runs(tmp_path: Path) -> None:
    plan = Plan(tmp_path)
    environment = {**os.environ, **plan.write()}
    code = "import time\nwhile input() == 'time': print(time.time(), flush=True)"
    with subprocess.Popen(
        [sys.executable, "-c", code], env=environment, text=True,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE,
    ) as child:  # fmt: skip
        assert child.stdin is not None
        assert child.stdout is not None

        def asked() -> float:
            assert child.stdin is not None
            assert child.stdout is not None
            child.stdin.write("time\n")
            child.stdin.flush()
            return float(child.stdout.readline())

        before = asked()
        plan.turn_clock(-86_400.0)
        assert before - asked() == pytest.approx(86_400, abs=60)
        child.stdin.write("end\n")
