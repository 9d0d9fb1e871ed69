"""What a case needs: its generator's output, `lumbar-node process` on it, and a running node."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pydicom

from node.demo import servers
from node.free_ports import free_ports

ROOT = Path(__file__).resolve().parents[2]
SHARED = ROOT.parent / "shared"
CASES = SHARED / "cases"
ENDED = {"delivered", "skipped", "incomplete", "failed"}


def _run(*words: object, cwd: Path | None = None, **env: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(w) for w in words],
        cwd=cwd,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
        timeout=500,
    )


@dataclass
class Ran:
    """What `lumbar-node process --json` did: exit code, its rows, what it wrote."""

    code: int
    rows: list[dict[str, Any]]
    error: str

    @property
    def written(self) -> list[dict[str, Any]]:
        return [r for r in self.rows if r["folder"]]

    @property
    def result(self) -> dict[str, Any]:
        """`result.json` of the one result."""
        if len(self.written) != 1:
            what = [(r["outcome"], r["text"]) for r in self.rows]
            raise AssertionError(
                f"exit {self.code}, {len(self.written)} results: {what} {self.error}"
            )
        found: dict[str, Any] = json.loads((self.folder / "result.json").read_text("utf-8"))
        return found

    @property
    def folder(self) -> Path:
        return Path(self.written[0]["folder"])

    @property
    def objects(self) -> dict[str, pydicom.Dataset]:
        """Every DICOM object of the one result."""
        self.result  # noqa: B018 - says when there is none
        return {p.name: pydicom.dcmread(p) for p in sorted(self.folder.glob("*.dcm"))}

    @property
    def texts(self) -> str:
        """All reasons, for a look at the words."""
        return " ".join([*(r["text"] for r in self.rows), self.error])


@dataclass
class Bench:
    """One case with a folder of its own below `root`."""

    root: Path
    group: str
    name: str
    keys: dict[str, str] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        place = self.root / self.name
        place.mkdir(parents=True, exist_ok=True)
        return place

    @property
    def phantom(self) -> Path:
        """The small phantom series that most cases change."""
        base = self.root / "base"
        if not base.is_dir():
            _run(
                servers.command("lumbar-train"), "phantom", "--out", base, "--cases", "1",
                "--seed", "41", "--slices", "64", "--matrix", "160",
            )  # fmt: skip
        return base / "phantom-000041" / "t2_space"

    @property
    def spider(self) -> Path:
        """A real series, wrapped as DICOM, which the operators' cases change."""
        place = self.root / "spider-5"
        if not place.is_dir():
            tool = SHARED / "tools" / "spider_to_dicom.py"
            _run(sys.executable, tool, SHARED / "data" / "spider" / "5.image.nii.gz", place)
        return place

    def make(self, **env: str) -> Path:
        """Run the case's generator; returns the folder (or file) it made."""
        script = CASES / self.group / self.name / "make.py"
        out = self.folder / ("made" + "-".join(env.values()).replace(" ", "_").replace("/", "_"))
        if self.group == "operate":
            for file in ("common.py", f"{self.name}/make.py"):
                copy = self.folder / "cases" / file
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.write_text((CASES / "operate" / file).read_text("utf-8"), encoding="utf-8")
            cwd = self.folder / "cases" / self.name
            done = _run(sys.executable, "make.py", cwd=cwd, CASE_SERIES=str(self.spider), **env)
            out = cwd / "out"
        else:
            done = _run(sys.executable, script, self.phantom, out, **env)
        if done.returncode:
            raise AssertionError(f"make.py: {done.stderr[-300:]}")
        return out

    def process(self, *paths: Path, options: Sequence[str] = ()) -> Ran:
        """`lumbar-node process`."""
        out = self.folder / f"results{len(list(self.folder.glob('results*')))}"
        done = _run(
            servers.command("lumbar-node"), "process", *paths, "--out", out, "--json", *options,
            cwd=self.folder,
        )  # fmt: skip
        rows = json.loads(done.stdout)["series"] if done.stdout.startswith("{") else []
        return Ran(done.returncode, rows, done.stderr.strip()[-400:])

    def node(self, *words: str) -> Any:
        """A query of the running node's state, as JSON."""
        done = _run(
            servers.command("lumbar-node"),
            *words,
            "--config",
            self.folder / "config.toml",
            "--json",
        )
        try:
            return json.loads(done.stdout)
        except ValueError as error:
            raise AssertionError(
                f"{words}: exit {done.returncode}: {done.stderr[-300:]}"
            ) from error

    @contextmanager
    def serving(self, extra: str = "", destination: str = "") -> Iterator[Node]:
        """A node on a free port with a folder as destination, stopped at the end."""
        port = free_ports(1)[0]
        where = (
            destination or f'name = "folder"\nkind = "folder"\npath = "{self.folder / "delivered"}"'
        )
        (self.folder / "config.toml").write_text(
            f'[node]\nae_title = "NODE"\nport = {port}\nstate = "{self.folder / "state"}"\n'
            f"[receive]\ndisk_low_mb = 50\ndisk_high_mb = 60\n"
            f"[track]\nquiet_seconds = 5\nsettle_seconds = 2\n{extra}"
            f"[[node.destination]]\n{where}\n",
            encoding="utf-8",
        )
        running = servers.start_node(self.folder / "config.toml", self.folder / "node.log", port)
        try:
            yield Node(self, port, running)
        finally:
            servers.stop(running)


@dataclass
class Node:
    """A running node."""

    bench: Bench
    port: int
    running: servers.Running

    def storescu(self, *paths: Path) -> subprocess.CompletedProcess[str]:
        """Send files as a scanner does."""
        found = sorted(f for p in paths for f in ([p] if p.is_file() else p.rglob("*.dcm")))
        return _run(
            "storescu", "-R", "-aet", "SCANNER", "-aec", "NODE", "127.0.0.1", self.port, *found
        )

    def echo(self) -> bool:
        """C-ECHO within five seconds."""
        done = _run("echoscu", "-to", "5", "-ta", "5", "-aec", "NODE", "127.0.0.1", self.port)
        return done.returncode == 0

    def rows(self) -> list[dict[str, Any]]:
        """`list --json`."""
        found: list[dict[str, Any]] = self.bench.node("list")
        return found

    def wait(
        self, done: Callable[[list[dict[str, Any]]], bool], seconds: float = 120.0
    ) -> list[dict[str, Any]]:
        """Rows as soon as they are as wanted."""
        deadline = time.monotonic() + seconds
        rows: list[dict[str, Any]] = []
        while time.monotonic() < deadline:
            rows = self.rows()
            if done(rows):
                return rows
            time.sleep(1.0)
        raise AssertionError(
            f"after {seconds:.0f} s: {[(r['state'], r['reason'][:80]) for r in rows]}"
        )

    def delivered(self, count: int = 1, seconds: float = 120.0) -> list[dict[str, Any]]:
        """Rows as soon as so many series are delivered."""
        return self.wait(
            lambda rows: sum(r["state"] == "delivered" for r in rows) >= count, seconds
        )

    def log(self) -> str:
        return (self.bench.folder / "node.log").read_text("utf-8", "replace")

    def rss_mb(self) -> float:
        """Most memory the serving process has held."""
        status = Path(f"/proc/{self.running.process.pid}/status").read_text("utf-8")
        return int(status.split("VmHWM:")[1].split()[0]) / 1000
