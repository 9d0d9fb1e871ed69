"""`purge`: says what would leave, and removes it only with `--yes`."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from node.cli.app import run
from node.journal.states import DeliveryEvent, SeriesState
from tests.support.purging import Kept

Call = Callable[..., tuple[int, str, str]]
DAY_S = 86_400.0


@pytest.fixture
def call(kept: Kept, capsys: Any, monkeypatch: pytest.MonkeyPatch) -> Call:
    """Run a command at the time of the test's clock."""
    config = kept.state.parent / "config.toml"
    config.write_text(
        f'[node]\nae_title = "NODE"\nstate = "{kept.state}"\n[retention]\nskipped_days = 5\n'
    )
    monkeypatch.setattr("time.time", kept.clock.wall)

    def called(*arguments: str) -> tuple[int, str, str]:
        code = run(["purge", *arguments, "--config", str(config)])
        printed = capsys.readouterr()
        return code, printed.out, printed.err

    return called


def test_without_yes_nothing_is_changed(kept: Kept, call: Call) -> None:
    key = kept.deliver(1)
    kept.clock.pass_s(40 * DAY_S)
    code, out, err = call("--older-than", "30d")
    assert (code, err) == (0, "")
    assert f"{key.series}  2 objects, 0.0 MB: delivered" in out
    assert "1 series, 0.0 MB would leave; --yes removes them" in out
    assert kept.files() == 2
    code, out, _ = call("--older-than", "30d", "--yes")
    assert code == 0
    assert "1 series, 0.0 MB purged" in out
    assert kept.files() == 0
    assert call("--older-than", "30d", "--yes")[:2] == (3, "nothing to purge\n")


def test_limits_of_the_configuration_are_what_it_shows_without_options(
    kept: Kept, call: Call
) -> None:
    kept.deliver(1)
    skipped = kept.skip(2)
    kept.clock.pass_s(6 * DAY_S)
    code, out, _ = call("--json")
    (series,) = json.loads(out)["series"]
    assert (code, series["series"], series["reason"]) == (0, skipped.series, "skipped 6 days ago")
    assert call("--yes")[0] == 0
    assert kept.journal.series.get(skipped).state is SeriesState.PURGED


def test_a_named_series_leaves_in_whatever_state_and_the_doubt_is_said(
    kept: Kept, call: Call
) -> None:
    key = kept.deliver(1, DeliveryEvent.NO_PROOF_OFFERED)
    code, out, _ = call(key.series)
    assert code == 0
    assert "asked for; no proof that pacs holds the result" in out
    assert call(key.study, "--yes")[0] == 0
    assert kept.files() == 0
    (event,) = [e for e in kept.journal.series.events(key) if e.event == "purged"]
    assert event.detail["by"]


def test_what_is_still_to_be_sent_stays_and_says_why(kept: Kept, call: Call) -> None:
    encoded, arriving, done = kept.encode(1), kept.receive(2), kept.skip(3)
    code, _, err = call(encoded.series, arriving.series, done.series, "1.9.9", "--yes")
    assert code == 3
    assert f"series {encoded.series} stays: a result is on its way" in err
    assert f"series {arriving.series} stays: it is receiving; wait until it is done" in err
    assert "1.9.9 stays: is not in the journal" in err
    assert kept.files() == 4
    assert kept.journal.series.get(done).state is SeriesState.PURGED


def test_quarantine_alone(kept: Kept, call: Call) -> None:
    kept.quarantine(1)
    kept.clock.pass_s(10 * DAY_S)
    kept.quarantine(2)
    kept.skip(3)
    code, out, _ = call("--quarantine", "--older-than", "5d", "--yes")
    assert code == 0
    assert "1 quarantined objects, 0.0 MB purged" in out
    assert kept.files() == 3
    assert call("--quarantine", "--yes")[0] == 0
    assert kept.files() == 2


@pytest.mark.parametrize(
    "arguments", [("1.2", "--quarantine"), ("--state", "failed"), ("--older-than", "soon")]
)
def test_wrong_usage(call: Call, arguments: tuple[str, ...]) -> None:
    assert call(*arguments)[0] == 2
    code, _, err = call("--older-than", "1d", "--state", "processing")
    assert code == 2
    assert "no state" in err
