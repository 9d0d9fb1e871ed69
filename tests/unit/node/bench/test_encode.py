"""The times of `bench encode` are of every object and picture of a result, added up."""

from __future__ import annotations

from pathlib import Path

import pytest

from dicomseg.encode.result_folder import ENCODERS
from node.bench.encode import (
    MEASURED,
    PICTURES,
    REHEARSAL,
    TARGETS_S,
    PartTime,
    prepare,
    summary,
    time_run,
)
from node.work.trial import write_trial


@pytest.mark.slow
def test_every_object_is_timed_and_the_sums_are_of_their_parts(tmp_path: Path) -> None:
    laps = time_run(*prepare(write_trial(tmp_path)))
    pictures = ("surfaces", "page, PDF, files", "their objects")
    assert list(laps) == [REHEARSAL, *ENCODERS, MEASURED, *pictures, PICTURES]
    for name, parts in ((MEASURED, ENCODERS), (PICTURES, pictures)):
        for which in (0, 1):
            assert laps[name][which] == pytest.approx(sum(laps[p][which] for p in parts))
    assert all(cpu_s > 0 and wall_s > 0 for cpu_s, wall_s in laps.values())


def test_the_first_run_is_apart_and_medians_are_of_the_others() -> None:
    runs = [{"a": (9.0, 10.0)}, {"a": (1.0, 4.0)}, {"a": (3.0, 5.0)}, {"a": (2.0, 9.0)}]
    (time,) = summary(runs)
    assert time == PartTime("a", 9.0, (1.0, 3.0, 2.0), (4.0, 5.0, 9.0))
    assert (time.median_s, time.median_wall_s, time.target_s) == (2.0, 5.0, None)
    assert time.as_json()["median_cpu_s"] == 2.0
    assert set(TARGETS_S) == {MEASURED, PICTURES, REHEARSAL}
