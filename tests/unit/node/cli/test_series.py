"""`status`, `list`, `why` and `retry` on a state folder with series of several patients."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from node.cli.app import run
from node.journal.journal import Journal
from node.journal.rows import NewInstance, ResultRow, SeriesKey
from node.journal.states import DeliveryEvent, SeriesEvent
from node.store.lock import Holder, locked

Output = tuple[int, str, str]
DESTINATIONS = "".join(
    f'[[node.destination]]\nname = "{name}"\nkind = "folder"\npath = "{name}"\n'
    for name in ("pacs", "archive")
)


@dataclass(frozen=True)
class Home:
    """A folder with config.toml and a journal, and the commands run in it."""

    root: Path
    journal: Journal
    clock: Any
    write: Any
    call: Callable[..., Output]

    def receive(self, number: int, ae_title: str = "MR1", **header: Any) -> SeriesKey:
        """Receive one object of series 1.2.<number>, an hour after the previous one."""
        self.clock.pass_s(3600)
        key = SeriesKey(f"1.1.{number}", f"1.2.{number}")
        folder = self.root / "state" / "spool" / str(number)
        (path,) = self.write(folder, series=key.series, slices=1, **header)
        digest = sha256(path.read_bytes()).hexdigest()
        self.journal.instances.add(
            NewInstance(f"{key.series}.1", "1.2", *key, digest, "", path, 1, ae_title)
        )
        return key

    def deliver(self, key: SeriesKey, *failed: str) -> None:
        """Publish a result whose deliveries fail for good at some destinations."""
        self.journal.series.advance(key, SeriesEvent.GEOMETRY_COMPLETE)
        self.journal.series.advance(key, SeriesEvent.RULES_ACCEPT)
        token = f"w/{key.series}"
        assert self.journal.series.claim(token) is not None
        result = ResultRow(f"r{key.series}", self.root / "state" / "results" / key.series, "m")
        self.journal.results.publish(key, token, result, ["pacs", "archive"])
        for delivery in self.journal.deliveries.of_series(key):
            if delivery.destination in failed:
                self.journal.deliveries.advance(
                    delivery.id, DeliveryEvent.PERMANENT_FAILURE, detail={"reason": "0xA900"}
                )

    def failed(self) -> set[tuple[str, str]]:
        """Failed deliveries: series and destination."""
        return {
            (d.series.series, d.destination)
            for row in self.journal.series.in_states()
            for d in self.journal.deliveries.of_series(row.key)
            if d.state == "dead"
        }


@pytest.fixture
def home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], clock: Any, write_series: Any
) -> Iterator[Home]:  # fmt: skip
    (tmp_path / "config.toml").write_text(f'[node]\nae_title = "NODE"\n{DESTINATIONS}')
    monkeypatch.chdir(tmp_path)

    def call(*arguments: str) -> Output:
        code = run(arguments)
        return code, *capsys.readouterr()

    journal = Journal.open(tmp_path / "state" / "journal.sqlite", clock)
    yield Home(tmp_path, journal, clock, write_series, call)
    journal.close()


def _series(output: Output) -> list[str]:
    assert output[0] == 0, output
    return [row["series"] for row in json.loads(output[1])]


# ---- list ----------------------------------------------------------------------------------------


def test_list_without_series_says_so(home: Home) -> None:
    assert home.call("list") == (0, "no series\n", "")
    home.receive(1)
    assert home.call("list", "--sender", "MR9") == (0, "no such series\n", "")
    assert home.call("jobs", "list") == (0, "no jobs\n", "")


def test_list_is_newest_first_with_description_and_date(home: Home) -> None:
    home.receive(1, SeriesDescription="t2_space_sag", SeriesDate="20260102", PatientID="PID-7")
    home.receive(2, SeriesDescription="localizer")
    code, out, _ = home.call("list")
    heads, newest, oldest = out.splitlines()
    assert code == 0
    assert heads.split() == [
        "received", "state", "objects", "acquired", "description", "series", "reason",
    ]  # fmt: skip
    assert "localizer" in newest
    assert "1.2.2" in newest
    assert oldest.split()[1:] == ["receiving", "1", "2026-01-02", "t2_space_sag", "1.2.1"]
    assert "PID-7" not in out


def test_results_have_a_link_where_a_viewer_is_configured(home: Home) -> None:
    delivered, _ = home.receive(1), home.receive(2)
    home.deliver(delivered)
    folder = home.root / "state" / "results" / delivered.series
    folder.mkdir(parents=True)
    (folder / "result.json").write_text('{"objects": [{"sop_instance": "2.25.4"}]}')
    assert [r["link"] for r in json.loads(home.call("list", "--json")[1])] == [None, None]
    assert "http" not in home.call("list")[1] + home.call("why", delivered.series)[1]
    viewer = "http://v/viewer?StudyInstanceUIDs={study}&result={result}"
    with (home.root / "config.toml").open("a") as config:
        config.write(f'[results]\nviewer = "{viewer}"\n')
    link = "http://v/viewer?StudyInstanceUIDs=1.1.1&result=2.25.4"
    assert [r["link"] for r in json.loads(home.call("list", "--json")[1])] == [None, link]
    heads, _, row = home.call("list")[1].splitlines()
    assert ("link" in heads.split(), link in row.split()) == (True, True)
    assert f"    open: {link}\n" in home.call("why", delivered.series)[1]
    (explained,) = json.loads(home.call("why", "--json", delivered.series)[1])
    assert [result["link"] for result in explained["results"]] == [link]


def test_identity_is_shown_on_request_only(home: Home) -> None:
    home.receive(1, PatientID="PID-7", AccessionNumber="ACC-1")
    assert "patient_id" not in json.loads(home.call("list", "--json")[1])[0]
    (row,) = json.loads(home.call("list", "--json", "--identity")[1])
    assert (row["patient_id"], row["accession_number"]) == ("PID-7", "ACC-1")
    assert "PID-7" in home.call("list", "--identity")[1]


def test_limit_says_how_many_are_hidden(home: Home) -> None:
    for number in range(5):
        home.receive(number)
    code, out, _ = home.call("list", "--limit", "2")
    assert code == 0
    assert out.splitlines()[-1] == "3 older series; --limit 5 shows all"
    assert "1.2.4" in out.splitlines()[1]
    assert _series(home.call("list", "--json")) == ["1.2.4", "1.2.3", "1.2.2", "1.2.1", "1.2.0"]
    assert _series(home.call("list", "--json", "--limit", "2")) == ["1.2.4", "1.2.3"]


def test_filters_select_by_state_sender_and_time(home: Home, monkeypatch: Any) -> None:
    first = home.receive(1)
    home.receive(2, ae_title="MR2")
    home.receive(3)
    home.journal.series.advance(first, SeriesEvent.WENT_QUIET, detail={"reason": "13 of 14"})
    monkeypatch.setattr("time.time", home.clock.wall)
    assert _series(home.call("list", "--json", "--sender", "MR1")) == ["1.2.3", "1.2.1"]
    assert _series(home.call("list", "--json", "--state", "incomplete")) == ["1.2.1"]
    assert _series(home.call("list", "--json", "--since", "90m")) == ["1.2.3", "1.2.2"]
    assert _series(home.call("list", "--json", "--since", "2023-11-14")) == [
        "1.2.3", "1.2.2", "1.2.1",
    ]  # fmt: skip
    assert _series(home.call("list", "--json", "--since", "2023-12-01")) == []
    code, _, err = home.call("list", "--since", "yesterday")
    assert code == 2
    assert '"yesterday" is no moment; write 2026-01-31' in err


def test_a_narrow_terminal_loses_no_state_uid_or_reason(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    reason = (
        "received 13 of 14 slices; slice 7 at LPS (1.0, 2.0, 3.0) mm is missing, between 6 and 8"
    )
    key = home.receive(1, SeriesDescription="t2_space_sag")
    home.journal.series.advance(key, SeriesEvent.WENT_QUIET, detail={"reason": reason})
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    code, out, _ = home.call("list", "--identity")
    assert code == 0
    state, patient, uid, why = out.splitlines()
    assert state.endswith("incomplete   t2_space_sag, 1 object")
    assert patient == "  patient T1, accession number –"
    assert uid == "  1.2.1"
    assert why == f"  {reason}"


# ---- why -----------------------------------------------------------------------------------------


def test_why_accepts_patient_id_and_accession_number(home: Home) -> None:
    home.receive(1, PatientID="PID-7", AccessionNumber="ACC-1")
    home.receive(2, PatientID="PID-7", AccessionNumber="ACC-2")
    home.receive(3, PatientID="PID-77", AccessionNumber="ACC-3")
    code, out, _ = home.call("why", "ACC-2")
    assert code == 0
    assert out.startswith("series 1.2.2\n")
    code, out, _ = home.call("why", "PID-7")
    assert code == 0
    assert out.startswith("2 series; choose one: `lumbar-node why SERIES`\n")
    assert "1.2.1" in out
    assert "1.2.3" not in out
    assert _series(home.call("why", "PID-7", "--json")) == ["1.2.2", "1.2.1"]
    code, out, err = home.call("why", "PID-8")
    assert (code, out) == (3, "")
    assert "PID-8 is not in the journal" in err


def test_log_of_an_internal_error_holds_no_identifier(
    home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr("node.cli.series.open_journal", broken)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    code, _, err = home.call("why", "MILLER-1970", "--config=config.toml")
    assert code == 1
    log = Path(err.split()[-1]).read_text()
    assert "lumbar-node why --config\n" in log
    assert "MILLER" not in log


# ---- status --------------------------------------------------------------------------------------


def test_status_of_a_stopped_node(home: Home) -> None:
    home.receive(1)
    home.receive(2, ae_title="MR2")
    before = {p: p.stat().st_mtime_ns for p in (home.root / "state").rglob("*") if p.is_file()}
    code, out, _ = home.call("status")
    assert code == 0
    lines = out.splitlines()
    assert lines[:3] == [
        f"lumbar-node (NODE), state in {home.root / 'state'}",
        "node      not running",
        "ready     no: it is not running; start `lumbar-node serve`",
    ]
    assert lines[3].startswith("model     lumbar-l45 ")
    assert " last from MR2, 1 objects" in lines[5]
    assert " last from MR1, 1 objects" in lines[6]
    assert "series       2 receiving" in lines
    assert lines[-1] == "nothing needs attention"
    after = {p: p.stat().st_mtime_ns for p in (home.root / "state").rglob("*") if p.is_file()}
    assert {p: t for p, t in after.items() if p.suffix != ".sqlite-shm"} == {
        p: t for p, t in before.items() if p.suffix != ".sqlite-shm"
    }


def test_status_of_a_running_node_says_since_when_and_whether_it_is_ready(home: Home) -> None:
    def ready(*changes: Any) -> tuple[bool, str]:
        state = json.loads(home.call("status", "--json")[1])
        assert state["running"] is True
        return state["ready"], state["not_ready"]

    holder = Holder(os.getpid(), home.clock(), "9.8.7")
    with locked(home.root / "state") as lock:
        assert ready() == (False, "it is starting")
        lock.describe(holder)
        assert ready() == (False, "it is starting")
        lock.describe(Holder(holder.pid, holder.started_at, "9.8.7", 11112))
        assert ready() == (False, "it receives; the workers are loading the model")
        lock.describe(Holder(holder.pid, holder.started_at, "9.8.7", 11112, home.clock()))
        assert ready() == (True, "")
        out = home.call("status")[1].splitlines()
        assert out[1].startswith("node      running since 2023-11-1")
        assert out[1].endswith(f"(version 9.8.7, pid {os.getpid()}, port 11112)")
        assert out[2] == "ready     yes"
        config = home.root / "config.toml"
        config.write_text(
            config.read_text() + "[receive]\ndisk_low_mb = 900000000\ndisk_high_mb = 900000001\n"
        )
        is_ready, reason = ready()
        assert not is_ready
        assert "below disk_low_mb 900000000" in reason
    assert json.loads(home.call("status", "--json")[1])["running"] is False


@pytest.mark.slow  # starts Python four times
def test_queries_load_no_heavy_library(home: Home) -> None:
    home.receive(1)
    heavy = {
        "torch",
        "numpy",
        "scipy",
        "pydicom",
        "highdicom",
        "pynetdicom",
        "structlog",
        "rich",
        "httpx",
    }
    for command in (["status"], ["list"], ["why", "1.2.1"], ["models", "list"]):
        ended = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "node", *command],
            capture_output=True, text=True, timeout=60, check=False, cwd=home.root,
        )  # fmt: skip
        assert ended.returncode == 0, ended.stderr[-400:]
        loaded = {line.split("|")[-1].strip() for line in ended.stderr.splitlines()}
        assert "node.journal.journal" in loaded
        assert loaded & heavy == set(), command


# ---- retry ---------------------------------------------------------------------------------------


def test_retry_of_one_destination_leaves_the_others(home: Home) -> None:
    first, second = home.receive(1), home.receive(2)
    home.deliver(first, "pacs", "archive")
    home.deliver(second, "pacs")
    code, out, _ = home.call("retry", first.series, "--destination", "archive", "--json")
    assert code == 0
    assert json.loads(out) == [{"study": "1.1.1", "series": "1.2.1"}]
    assert home.failed() == {("1.2.1", "pacs"), ("1.2.2", "pacs")}
    assert home.call("retry", "--destination", "pacs") == (
        0, "series 1.2.1: delivery queued again\nseries 1.2.2: delivery queued again\n", "",
    )  # fmt: skip
    assert home.failed() == set()
    code, _, err = home.call("retry", "--destination", "pacs")
    assert (code, err) == (3, "lumbar-node: no failed or waiting delivery to pacs\n")


@pytest.mark.parametrize("option", ["--all-failed", "--all-dead"])
def test_retry_of_all_failed_deliveries_reprocesses_nothing(home: Home, option: str) -> None:
    first, second = home.receive(1), home.receive(2)
    home.deliver(first, "pacs", "archive")
    home.journal.series.advance(second, SeriesEvent.WENT_QUIET, detail={"reason": "13 of 14"})
    assert home.call("retry", option)[0] == 0
    assert home.failed() == set()
    assert home.journal.series.get(second).state == "incomplete"
    assert home.journal.series.get(first).state == "encoded"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "name UIDs, or --destination, or --all-failed; see `lumbar-node retry --help`"),
        (("1.2", "--all-failed"), "name UIDs, or --destination, or --all-failed"),
        (("--all-failed", "--force"), "--force makes new results"),
        (("--destination", "pasc"), 'no destination "pasc"; did you mean "pacs"?'),
    ],
)
def test_wrong_retries_are_refused(home: Home, arguments: tuple[str, ...], message: str) -> None:
    code, _, err = home.call("retry", *arguments)
    assert code == 2
    assert message in err
    assert err.count("\n") == 1
