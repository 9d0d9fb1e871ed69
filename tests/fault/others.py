"""`python -m tests.fault.others`: other receivers through the faults that every receiver can have.

Not part of `make fault`: it fills the comparison in docs/reliability.md. Receivers that are not installed are left
out. `--router PYTHON` names the interpreter of an environment with `dicom-ai-router`.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol

from pydicom import dcmread

from node.demo import servers
from node.free_ports import free_ports
from tests.fault import table
from tests.fault.calls import events, synchronised, traced
from tests.fault.destinations import Orthanc
from tests.fault.filesystem import Small
from tests.fault.lab import Lab, until
from tests.fault.ledger import Ledger
from tests.fault.objects import GAP, Instance, Stock
from tests.fault.senders import send
from tests.fault.surroundings import NotPossible
from tests.fault.table import Row
from tests.fault.verdict import Verdict

KILLS: Final = 30
_INDEX: Final = re.compile(r"\.(?:db|sqlite)|/index|wal")


class Receiver(Protocol):
    """Something that answers C-STORE and keeps objects below a folder."""

    title: str
    called: str

    def start(self, folder: Path) -> tuple[servers.Running, int]:
        """Start it, with what the folder holds; returns the process and its port."""
        ...

    def held(self, folder: Path) -> dict[str, str]:
        """sha256 of the pixels of every object that it has, by SOP Instance UID; read from disk or by its own query."""
        ...


def _pixels(path: Path) -> tuple[str, str]:
    ds = dcmread(path, force=True)
    return str(ds.SOPInstanceUID), hashlib.sha256(ds.PixelData).hexdigest()


def _files(paths: Sequence[Path]) -> dict[str, str]:
    found = {}
    for path in paths:
        try:
            uid, digest = _pixels(path)
        except Exception:  # noqa: BLE001, S112 - a file that cannot be read is an object that is not there
            continue
        found[uid] = digest
    return found


@dataclass
class Storescp:
    """DCMTK's storescp."""

    title: str = "storescp"
    called: str = "STORESCP"

    def start(self, folder: Path) -> tuple[servers.Running, int]:
        (port,) = free_ports()
        command = ["storescp", "+B", "-pm", "--fork", "-od", str(folder), str(port)]
        return servers.start(
            "storescp", command, folder.parent / "storescp.log", lambda: servers.listens(port),
            env=servers.dcmtk_environment(),
        ), port  # fmt: skip

    def held(self, folder: Path) -> dict[str, str]:
        return _files([p for p in folder.iterdir() if p.is_file()])


@dataclass
class Archive:
    """Orthanc, asked after a restart what it has; each object is fetched."""

    title: str = "Orthanc"
    called: str = servers.PACS_AET

    def start(self, folder: Path) -> tuple[servers.Running, int]:
        orthanc = Orthanc(folder)
        orthanc.start()
        assert orthanc.running is not None
        return orthanc.running, orthanc.ports.pacs_dicom

    def held(self, folder: Path) -> dict[str, str]:
        orthanc = Orthanc(folder)
        orthanc.start()
        try:
            found = {}
            with tempfile.TemporaryDirectory() as place:
                for uid, content in orthanc.contents():
                    path = Path(place, "object.dcm")
                    path.write_bytes(content)
                    found[uid] = _pixels(path)[1]
            return found
        finally:
            orthanc.stop()


_ROUTER: Final = """\
router: {{ae_title: AIROUTER, port: {port}, study_quiet_seconds: 3, workers: 1, workdir: {folder}, bind_address: 127.0.0.1}}
pacs: {{ae_title: PACS, host: 127.0.0.1, port: {pacs}, retries: 3}}
ai_endpoints: {{}}
rules: [{{name: none, match: {{Modality: "^CT$"}}, model: null}}]
deid: {{salt: "", reject_burned_in_annotation: true}}
"""


@dataclass
class Router:
    """dicom-ai-router."""

    python: Path
    title: str = "dicom-ai-router"
    called: str = "AIROUTER"

    def start(self, folder: Path) -> tuple[servers.Running, int]:
        port, pacs = free_ports(2)
        config = folder.parent / "router.yaml"
        config.write_text(_ROUTER.format(port=port, pacs=pacs, folder=folder), encoding="utf-8")
        command = [str(self.python), "-m", "airouter", "--config", str(config), "serve"]
        environment = {**os.environ, "AIROUTER_DEID_SALT": "0" * 32, "PYTHONPATH": ""}
        return servers.start(
            "router",
            command,
            folder.parent / "router.log",
            lambda: servers.listens(port),
            env=environment,
        ), port

    def held(self, folder: Path) -> dict[str, str]:
        return _files(sorted(folder.rglob("*.dcm")))


# ---- scenarios -------------------------------------------------------------------------------------


@dataclass(slots=True)
class _Trial:
    lab: Lab
    receiver: Receiver
    folder: Path
    ledger: Ledger = field(default_factory=Ledger)
    sent: list[Instance] = field(default_factory=list)

    def more(self, count: int = 1) -> list[Instance]:
        new = [i for s in self.lab.series(count, GAP) for i in s.instances]
        self.sent += new
        return new

    def send(self, port: int, instances: Sequence[Instance]) -> int:
        return send(
            port, instances, self.ledger, called=self.receiver.called, goes_on=lambda _: True
        )

    def judge(self) -> Verdict:
        """Each acknowledged object has to be there with its pixels."""
        held = self.receiver.held(self.folder)
        pixels = {i.sop_instance: i for i in self.sent}
        verdict = Verdict(len(self.ledger.acknowledged))
        with tempfile.TemporaryDirectory() as place:
            for sop, _ in self.ledger.acknowledged:
                path = Path(place, "object.dcm")
                path.write_bytes(pixels[sop].file)
                if held.get(sop) != _pixels(path)[1]:
                    verdict.add("lost", f"{sop}: acknowledged, and not there")
        return verdict


def kills(trial: _Trial) -> Verdict:
    """SIGKILL at any moment while it receives."""
    for _ in range(trial.lab.share(KILLS)):
        running, port = trial.receiver.start(trial.folder)
        rest = trial.ledger.open(trial.sent) or trial.more(2)
        stop = time.monotonic() + 0.3 * trial.lab.draw.random()

        def end(running: servers.Running = running, stop: float = stop) -> None:
            time.sleep(max(0.0, stop - time.monotonic()))
            os.killpg(running.process.pid, signal.SIGKILL)
            running.process.wait(10)

        thread = threading.Thread(target=end)
        thread.start()
        trial.send(port, rest)
        thread.join()
        trial.lab.ran()
    running, port = trial.receiver.start(trial.folder)
    trial.send(port, trial.ledger.open(trial.sent))
    servers.stop(running)
    return trial.judge()


def full(trial: _Trial) -> Verdict:
    """Its disk is full, and has room again."""
    small = Small.mounted(trial.lab, trial.folder, 60)
    trial.folder = small.path / "held"
    trial.folder.mkdir()
    running, port = trial.receiver.start(trial.folder)
    trial.send(port, trial.more())
    small.fill()
    trial.send(port, trial.more(2))
    small.free()
    answers = trial.ledger.statuses
    until(
        lambda: (
            trial.send(port, trial.ledger.open(trial.sent)) >= 0
            and not trial.ledger.open(trial.sent)
        ),
        20,
        0.5,
    )
    left = trial.ledger.open(trial.sent)
    servers.stop(running)
    verdict = trial.judge()
    trial.lab.note(
        f"{trial.receiver.title}: answers while full { ({f'0x{k & 0xFFFF:04X}': v for k, v in answers.items()}) }"
    )
    if left:
        verdict.add("stuck", f"{len(left)} objects are refused though the disk has room again")
    trial.lab.ran()
    return verdict


def order(trial: _Trial) -> Verdict:
    """Whether bytes, name and folder are durable before the answer leaves."""
    running, port = trial.receiver.start(trial.folder)
    out = trial.lab.folder / "trace"
    with traced(running.process.pid, out):
        trial.send(port, trial.more())
    servers.stop(running)
    answers, with_file, with_folder, with_index = 0, 0, 0, 0
    file = folder = index = False
    for name, rest in events(out.read_text(encoding="utf-8", errors="replace")):
        if name == "answer":
            answers += 1
            with_file, with_folder, with_index = (
                with_file + file,
                with_folder + folder,
                with_index + index,
            )
            file = folder = index = False
        elif path := synchronised(name, rest):
            is_index = bool(_INDEX.search(path))
            index |= is_index
            folder |= Path(path).is_dir()
            file |= not is_index and not Path(path).is_dir()
    trial.lab.note(
        f"{trial.receiver.title}: of {answers} answers {with_file} came after a synchronised file,"
        f" {with_folder} after a synchronised folder, {with_index} after a synchronised index"
    )
    trial.lab.ran(answers)
    return trial.judge()


FAULTS: Final[dict[str, tuple[str, Callable[[_Trial], Verdict]]]] = {
    "kill": ("killed while receiving", kills),
    "full": ("disk full", full),
    "order": ("order of synchronisation", order),
}


def main() -> int:
    """Run and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.fault.others", description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--work", type=Path, default=Path("fault-out") / "others")
    parser.add_argument("--router", type=Path)
    options = parser.parse_args()
    receivers: list[Any] = [Archive(), Storescp()]
    receivers += [Router(options.router)] if options.router else []
    stock = Stock.of(options.work.absolute() / "stock")
    rows = []
    for receiver in receivers:
        for name, (title, fault) in FAULTS.items():
            label = f"{receiver.title}-{name}"
            lab = Lab(
                label, options.work.absolute() / label, stock, options.scale, options.seed, print
            )
            folder = lab.folder / "held"
            began = time.monotonic()
            if fault is not full:
                folder.mkdir()
            try:
                verdict = fault(_Trial(lab, receiver, folder))
            except NotPossible as error:
                rows.append(Row(label, f"{receiver.title}: {title}", skipped=str(error)))
                continue
            finally:
                lab.end()
            rows.append(
                Row.of(
                    label,
                    f"{receiver.title}: {title}",
                    lab.runs,
                    verdict,
                    time.monotonic() - began,
                    lab.notes,
                )
            )
    sys.stdout.write(f"{table.text(rows)}\n\n{table.markdown(rows)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
