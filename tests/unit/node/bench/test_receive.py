"""The figures of `bench receive`, and the series that it sends."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import dcmread

from dicomseg.read import header as headers
from dicomseg.read.series import Grid, assemble
from node.bench import receive, storage_servers
from node.bench.receive import Plan, Row, Visit, measure_receiving
from node.bench.series import make_templates, write_series
from node.errors import BenchFailed, UsageError


def test_every_series_has_uids_of_its_own_and_the_same_geometry(tmp_path: Path) -> None:
    templates = make_templates(3)
    folders = [write_series(templates, number, tmp_path) for number in (1, 10, 2)]
    read = [[headers.read_instance(p) for p in sorted(f.iterdir())] for f in folders]
    assert len({i.sop_instance_uid for instances in read for i in instances}) == 9
    assert len({i.series_uid for instances in read for i in instances}) == 3
    assert len({i.digest for instances in read for i in instances}) == 9
    for instances in read:
        assert isinstance(assemble(instances), Grid)
    ds = dcmread(next(folders[0].iterdir()))
    assert ds.file_meta.MediaStorageSOPInstanceUID == ds.SOPInstanceUID


def test_rate_is_of_the_median_round_and_cpu_of_all() -> None:
    visits = tuple(Visit(wall_s, 0.1, 90.0) for wall_s in (1.0, 4.0, 2.0))
    row = Row("lumbar-node", "durable", 4, 100, visits, 80.0)
    assert row.rate == 50.0
    assert row.cpu_ms == pytest.approx(1.0)
    assert row.as_json()["mb_per_s"] == pytest.approx(50 * 0.2048)


def test_ratio_is_of_two_times_of_one_round() -> None:
    def visits(*wall_s: float) -> list[Visit]:
        return [Visit(s, 0.0, 0.0) for s in wall_s]

    run = receive._Run(Plan(), Path(), [])
    run.visits = {("lumbar-node", 1): visits(2, 3, 9), ("storescp", 1): visits(1, 3, 3)}
    assert receive._ratio(run, "storescp", "lumbar-node", 1) == 0.5
    assert receive._ratio(run, "Orthanc", "lumbar-node", 1) is None


def test_without_a_sender_nothing_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(receive, "find_program", lambda _: None)
    with pytest.raises(UsageError, match="install dcmtk"):
        measure_receiving(Plan(), lambda _: None)


def test_server_that_is_not_installed_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(storage_servers, "find_program", lambda _: None)
    assert storage_servers.start_storescp(tmp_path) is None
    assert storage_servers.start_orthanc(tmp_path) is None


@pytest.mark.process
def test_server_that_ends_says_why(tmp_path: Path) -> None:
    (tmp_path / "config.toml").write_text("", encoding="utf-8")
    command = ["sh", "-c", "echo the reason; exit 3"]
    with pytest.raises(BenchFailed, match="x ended with 3: the reason"):
        storage_servers._start("x", "", 1, command, tmp_path / "log", lambda: False)
