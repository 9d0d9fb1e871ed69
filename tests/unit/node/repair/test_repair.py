"""`doctor --repair`: each fault is mended and said in one line, and `doctor` finds nothing afterwards."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from node.cli.app import run
from node.journal.journal import Journal
from node.journal.rows import NewInstance, SeriesKey
from node.journal.states import InstanceState, SeriesEvent, SeriesState
from node.observe.doctor import Check, examine
from node.repair.repair import Mended, Repair
from node.retention.purge import Purger
from node.store.lock import locked
from node.store.spool import data_set_digest, file_stem
from tests.support.mr_series import KEY
from tests.support.purging import SYNTAX, Kept

pytestmark = pytest.mark.usefixtures("headers_in_process")

S, E = SeriesState, SeriesEvent


def _repair(kept: Kept) -> list[Mended]:
    told: list[Mended] = []
    done = Repair(kept.state, kept.clock, "stamp", tell=told.append).run()
    assert told == done
    return done


def _kinds(items: list[Mended]) -> list[str]:
    return [item.kind for item in items]


def _receive_files(kept: Kept, paths: list[Path]) -> list[Path]:
    """Lay files where reception does, and give them their rows."""
    laid = []
    for number, path in enumerate(paths, 1):
        digest = data_set_digest(path)
        place = kept.state / "spool" / digest[:2] / f"{file_stem(digest, SYNTAX)}.dcm"
        place.parent.mkdir(exist_ok=True)
        shutil.copy(path, place)
        uid = f"{KEY.series}.{number}"
        kept.journal.instances.add(
            NewInstance(uid, "1.2", *KEY, digest, SYNTAX, place, place.stat().st_size)
        )
        laid.append(place)
    return laid


def test_a_node_in_order_has_nothing_to_mend(kept: Kept) -> None:
    kept.deliver(1)
    kept.quarantine(2)
    Purger(kept.journal).series(kept.purgeable(kept.skip(3)), "old")
    assert _repair(kept) == []


def test_left_overs_are_removed(kept: Kept) -> None:
    for name in ("spool/ab12.part", "quarantine/ab12.part", ".notices.json.part", ".journal.sqlite.new-wal"):  # fmt: skip
        (kept.state / name).write_bytes(b"x")
    (kept.state / "results" / ".2.25.1.77.part").mkdir()
    assert _kinds(_repair(kept)) == ["left-over"] * 5
    assert not list(kept.state.rglob("*.part"))


def test_a_file_without_a_row_gets_one(kept: Kept, write_series: Any, tmp_path: Path) -> None:
    for path in write_series(tmp_path / "in", slices=2):
        digest = data_set_digest(path)
        place = kept.state / "spool" / digest[:2] / f"{file_stem(digest, SYNTAX)}.dcm"
        place.parent.mkdir(exist_ok=True)
        shutil.copy(path, place)
    (kept.state / "spool" / "noise.dcm").write_bytes(b"noise" * 99)
    items = _repair(kept)
    assert _kinds(items) == ["object-unknown"] * 3
    assert kept.journal.series.get(KEY).instances == 2
    (bad,) = kept.journal.instances.quarantined()
    assert bad.path.parent == kept.state / "quarantine"


def test_a_lost_object_opens_a_series_that_needs_it_and_comes_again(kept: Kept) -> None:
    key = kept.encode(1)
    arriving = kept.receive(2)
    first = kept.journal.instances.of_series(arriving)[0]
    first.path.unlink()
    (item,) = _repair(kept)
    assert item.line == (
        f"object-missing: {first.path}: the file is missing; its series is judged again without it,"
        " and takes the object when it is sent again"
    )
    assert kept.journal.series.get(arriving).instances == 1
    kept.receive(2, (1,))
    assert kept.journal.series.get(arriving).instances == 2
    assert kept.journal.series.get(key).state is S.ENCODED


def test_a_lost_object_of_a_delivered_series_does_not_open_it(kept: Kept) -> None:
    """What is left of it would be judged again, and might make a worse result in the place of a good one."""
    key = kept.deliver(1)
    row = kept.journal.instances.of_series(key)[0]
    row.path.write_bytes(b"damaged".ljust(row.bytes))
    (item,) = _repair(kept)
    assert item.kind == "object-damaged"
    assert "its series stays as it is" in item.what
    assert (kept.state / "aside" / "stamp" / row.path.name).is_file()
    series = kept.journal.series.get(key)
    assert (series.state, series.instances) == (S.DELIVERED, 1)
    kept.receive(1)
    assert [i.sop_instance_uid for i in kept.journal.instances.of_series(key)] == ["1.2.1.2", "1.2.1.1"]  # fmt: skip


def test_a_file_that_was_moved_is_brought_back(kept: Kept) -> None:
    key = kept.receive(1)
    row = kept.journal.instances.of_series(key)[0]
    row.path.rename(kept.state / "quarantine" / row.path.name)
    (item,) = _repair(kept)
    assert "brought back from" in item.what
    assert row.path.is_file()
    assert kept.journal.series.get(key).instances == 2


def test_a_quarantined_object_whose_file_is_gone_is_recorded_as_gone(kept: Kept) -> None:
    kept.quarantine(1).unlink()
    (item,) = _repair(kept)
    assert item.what == "recorded as gone: it was quarantined and not used"
    assert examine(kept.journal, Check(kept.state)) == []


def test_a_file_that_names_another_transfer_syntax_is_found_and_moved(kept: Kept) -> None:
    key = kept.receive(1)
    row = kept.journal.instances.of_series(key)[0]
    raw = row.path.read_bytes()
    row.path.write_bytes(raw.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.2\0"))
    (found,) = examine(kept.journal, Check(kept.state))
    assert "names the transfer syntax 1.2.840.10008.1.2.2" in found.remedy
    assert _kinds(_repair(kept)) == ["object-damaged"]


def test_a_result_that_is_gone_before_its_delivery_is_made_again(kept: Kept) -> None:
    key = kept.encode(1)
    shutil.rmtree(kept.state / "results" / "2.25.10")
    (item,) = _repair(kept)
    assert "it is made again" in item.what
    series = kept.journal.series.get(key)
    assert (series.state, series.forced) == (S.COMPLETE, 1)


def test_a_damaged_copy_of_a_delivered_result_is_moved_aside(kept: Kept) -> None:
    key = kept.deliver(1)
    folder = kept.state / "results" / "2.25.10"
    listed = {"objects": [{"file": "seg.dcm", "bytes": 3, "sha256": "0"}], "files": []}
    (folder / "result.json").write_text(json.dumps(listed))
    (folder / "seg.dcm").write_bytes(b"bad")
    (item,) = _repair(kept)
    assert item.what.startswith("seg.dcm differs from what was written, moved to ")
    assert item.what.endswith("; recorded as gone: its series is delivered")
    assert kept.journal.series.get(key).state is S.DELIVERED
    assert (kept.state / "aside" / "stamp" / "2.25.10" / "seg.dcm").is_file()


def test_a_result_without_a_row_is_moved_aside(kept: Kept) -> None:
    (kept.state / "results" / "2.25.99").mkdir()
    (item,) = _repair(kept)
    assert (item.kind, item.is_left) == ("result-unknown", False)
    assert (kept.state / "aside" / "stamp" / "2.25.99").is_dir()


@pytest.mark.skipif(os.getuid() != 0, reason="only root can repair for another user")
def test_what_root_mends_belongs_to_the_owner_of_the_state_folder(
    kept: Kept, write_series: Any, tmp_path: Path
) -> None:
    row = kept.journal.instances.of_series(kept.deliver(1))[0]
    row.path.write_bytes(b"damaged".ljust(row.bytes))
    moved = kept.journal.instances.of_series(kept.receive(2))[0].path
    moved.rename(kept.state / "quarantine" / moved.name)
    moved.parent.rmdir()
    (kept.state / "results" / "2.25.99").mkdir()
    (path,) = write_series(tmp_path / "in", slices=1)
    digest = data_set_digest(path)
    shutil.copy(path, kept.state / "quarantine" / f"{file_stem(digest, SYNTAX)}.dcm")
    for path in (kept.state, *kept.state.rglob("*")):
        os.chown(path, 65534, 65533)
    _repair(kept)
    assert {p.name for p in (kept.state / "aside" / "stamp").iterdir()} == {
        row.path.name,
        "2.25.99",
    }
    assert moved.is_file()
    owners = {p: (p.stat().st_uid, p.stat().st_gid) for p in kept.state.rglob("*")}
    assert {p: o for p, o in owners.items() if o != (65534, 65533)} == {}


def _claimed(kept: Kept) -> SeriesKey:
    key = kept.receive(1)
    kept.journal.series.advance(key, E.GEOMETRY_COMPLETE)
    kept.journal.series.advance(key, E.RULES_ACCEPT)
    assert kept.journal.series.claim("w/1") is not None
    return key


def test_stuck_rows_move_again(kept: Kept) -> None:
    key, blocked = _claimed(kept), kept.receive(2)
    kept.journal.series.defer(blocked, "track", "disk", kept.clock() + 9999)
    with kept.journal.database.transaction() as tx:
        tx.execute("UPDATE series SET instances = 7 WHERE series = ?", (blocked.series,))
    items = _repair(kept)
    assert _kinds(items) == ["claim", "count", "fault"]
    assert kept.journal.series.get(key).state is S.SELECTED
    assert kept.journal.series.get(blocked).instances == 2
    assert blocked.series in {r.key.series for r in kept.journal.series.due(S.RECEIVING)}


def test_a_purge_that_was_ended_is_finished(kept: Kept) -> None:
    key = kept.deliver(1)
    kept.journal.purges.begin(kept.purgeable(key), "old")
    assert _kinds(_repair(kept)) == ["purge-unfinished"]
    assert kept.states(key) == [InstanceState.PURGED] * 2


def test_others_lose_their_access(kept: Kept) -> None:
    kept.state.chmod(0o755)
    assert _kinds(_repair(kept)) == ["permissions"]
    assert kept.state.stat().st_mode & 0o777 == 0o750


def _everything(kept: Kept) -> None:
    delivered, arriving = kept.deliver(1), kept.receive(2)
    kept.encode(3)
    kept.journal.instances.of_series(delivered)[0].path.unlink()
    kept.journal.instances.of_series(arriving)[1].path.write_bytes(b"x")
    shutil.rmtree(kept.state / "results" / "2.25.30")
    (kept.state / "results" / "2.25.77").mkdir()
    (kept.state / "spool" / "cd.part").write_bytes(b"x")


def test_command_says_each_item_and_doctor_is_content_afterwards(
    kept: Kept, capsys: Any, tmp_path: Path
) -> None:
    _everything(kept)
    kept.journal.close()
    config = tmp_path / "config.toml"
    config.write_text(f'[node]\nae_title = "NODE"\nstate = "{kept.state}"\n')
    kept.clock.jump_s(0)
    assert run(["doctor", "--config", str(config)]) == 1
    capsys.readouterr()
    assert run(["doctor", "--repair", "--config", str(config)]) == 0
    out = capsys.readouterr().out
    assert out.endswith("5 mended, 0 left\n")
    assert len(out.splitlines()) == 6
    trail = "".join(p.read_text() for p in (kept.state / "audit").iterdir())
    assert '"state_repaired"' in trail
    journal = Journal.reading(kept.state / "journal.sqlite", kept.clock)
    assert {f.kind for f in examine(journal, Check(kept.state))} <= {
        "quarantined",
        "object-missing",
    }
    journal.close()
    assert run(["doctor", "--repair", "--config", str(config)]) == 0


def test_a_running_node_is_left_alone(kept: Kept, capsys: Any, tmp_path: Path) -> None:
    config = tmp_path / "config.toml"
    config.write_text(f'[node]\nae_title = "NODE"\nstate = "{kept.state}"\n')
    with locked(kept.state):
        assert run(["doctor", "--repair", "--config", str(config)]) == 2
    assert "another node runs" in capsys.readouterr().err
    assert run(["doctor", "--repair", "--rebuild", "--config", str(config)]) == 2
    shutil.rmtree(kept.state)
    assert run(["doctor", "--repair", "--config", str(config)]) == 2
    assert not kept.state.exists()
