"""Bad input and bad surroundings: one clear message, the node stays up, nothing is lost."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest

from node.demo import servers
from node.free_ports import free_ports
from tests.support.sites import Site

pytestmark = [pytest.mark.servers, pytest.mark.slow, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def slices(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """A small T2 SPACE series of 24 slices, in order along the spine."""
    out = tmp_path_factory.mktemp("small")
    options = ["--cases", "1", "--seed", "3", "--slices", "24", "--matrix", "64"]
    subprocess.run(
        [servers.command("lumbar-train"), "phantom", "--out", str(out), *options],
        check=True,
        capture_output=True,
        timeout=200,
    )
    files = next(out.iterdir()).glob("t2_space/*.dcm")
    return sorted(files, key=lambda f: pydicom.dcmread(f, stop_before_pixels=True).InstanceNumber)


@pytest.fixture(scope="module")
def node(module_site: Callable[..., Site], oracle_bundle: Path) -> Site:
    """A node that gets one bad input after the other, and has to stay up."""
    return module_site(bundle=oracle_bundle, extra="[results]\npictures = false\n")


def _changed(
    files: list[Path], out: Path, change: Callable[[int, pydicom.Dataset], None]
) -> list[Path]:
    out.mkdir()
    made = []
    for n, file in enumerate(files):
        ds = pydicom.dcmread(file)
        ds.StudyInstanceUID = pydicom.uid.generate_uid(entropy_srcs=[out.name])
        ds.SeriesInstanceUID = pydicom.uid.generate_uid(entropy_srcs=[out.name, "series"])
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid(
            entropy_srcs=[out.name, str(n)]
        )
        ds.ImagesInAcquisition = len(files)
        change(n, ds)
        made.append(out / file.name)
        ds.save_as(made[-1])
    return made


def _other_frame(n: int, ds: pydicom.Dataset) -> None:
    if n == 7:
        ds.FrameOfReferenceUID = "1.2.3.4"


def _two_echoes(n: int, ds: pydicom.Dataset) -> None:
    if n % 2:
        ds.EchoTime, ds.EchoNumbers = "250", 2


@pytest.mark.parametrize(
    ("name", "keep", "change", "states", "words"),
    [
        ("three", 3, lambda _n, _d: None, {"skipped"}, "3 slices"),
        ("echoes", 24, _two_echoes, {"incomplete"}, "echo"),
        ("frames", 24, _other_frame, {"incomplete"}, "frame of reference"),
    ],
)
def test_an_irregular_series_gets_one_clear_reason(
    name: str,
    keep: int,
    change: Any,
    states: set[str],
    words: str,
    slices: list[Path],
    node: Site,
    tmp_path: Path,
) -> None:
    before = {row.key for row in node.journal.series.in_states()}
    node.send(_changed(slices[:keep], tmp_path / name, change))
    (row,) = (r for r in node.wait(len(before) + 1) if r.key not in before)
    assert row.state in states
    assert words in row.reason
    assert row.instances == keep
    assert node.running[0].alive


def test_garbage_is_kept_aside_and_the_node_stays_up(
    slices: list[Path], node: Site, tmp_path: Path
) -> None:
    truncated = tmp_path / "cut.dcm"
    truncated.write_bytes(slices[0].read_bytes()[:1500])
    text = tmp_path / "notes.txt"
    text.write_text("this is no DICOM object", encoding="utf-8")
    for file in (truncated, text):
        node.send([file], check=False)
    before = {row.key for row in node.journal.series.in_states()}
    node.send(_changed(slices[:4], tmp_path / "good", lambda _n, _d: None))
    (row,) = (r for r in node.journal.series.in_states() if r.key not in before)
    assert row.instances >= 4
    node.wait(len(before) + 1)
    assert node.running[0].alive
    done = subprocess.run(
        [servers.command("lumbar-node"), "select", str(text), str(truncated), "--config", str(node.config)],
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == 3
    assert "notes.txt" in done.stdout + done.stderr
    assert "Traceback" not in done.stdout + done.stderr


def test_an_unreachable_destination_waits_and_an_unknown_key_is_named(
    site: Callable[..., Any], small_coded: Any, oracle_bundle: Path, tmp_path: Path
) -> None:
    (port,) = free_ports(1)
    nowhere = f'[[node.destination]]\nname = "away"\nkind = "dicom"\nae_title = "AWAY"\nhost = "127.0.0.1"\nport = {port}\n'
    here = site(bundle=oracle_bundle, extra=nowhere)
    here.send(small_coded.files)
    journal = here.journal
    deadline = time.monotonic() + 200
    waiting: list[Any] = []
    while not waiting and time.monotonic() < deadline:
        waiting = [d for d in journal.deliveries.in_states("waiting") if d.destination == "away"]
        time.sleep(0.2)
    assert waiting
    assert waiting[0].detail
    assert here.running[0].alive
    wrong = tmp_path / "wrong.toml"
    wrong.write_text('[node]\nae_title = "NODE"\nprot = 104\n', encoding="utf-8")
    done = subprocess.run(
        [servers.command("lumbar-node"), "serve", "--config", str(wrong)],
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 2
    assert "prot" in done.stderr
    assert "port" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_a_busy_port_is_one_line_and_exit_2(tmp_path: Path) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        holder.listen()
        config = tmp_path / "config.toml"
        port = holder.getsockname()[1]
        config.write_text(
            f'[node]\nae_title = "NODE"\nport = {port}\nstate = "{tmp_path / "state"}"\n',
            encoding="utf-8",
        )
        done = subprocess.run(
            [servers.command("lumbar-node"), "serve", "--config", str(config)],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
        )
    assert done.returncode == 2
    assert str(port) in done.stderr
    assert "Traceback" not in done.stderr
