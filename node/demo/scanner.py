"""The scanner of the demonstration: makes synthetic studies and sends them as a modality would."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pynetdicom.ae import ApplicationEntity
from pynetdicom.sop_class import MRImageStorage  # type: ignore[attr-defined]

from dicomseg.errors import LumbarError
from node.demo.scenarios import Scenario
from node.demo.servers import LOOPBACK, SCANNER_AET, command, dcmtk_environment

_PAINT_TIMEOUT_S: Final = 600.0
_SEND_TIMEOUT_S: Final = 300.0
BETWEEN_ASSOCIATIONS_S: Final = 3.0
"""Longer than the PACS waits before it routes (StableAge), so that the parts travel separately."""
_FILES_PER_CALL: Final = 512
"""Keeps one argument list well below the system's limit."""


class StudyNotMade(LumbarError):
    """A synthetic study could not be written; the last lines of `lumbar-train phantom` say why."""

    code = "demo-phantom"


class NotSent(LumbarError):
    """The PACS or the node rejected a study; the sender's last lines say why."""

    code = "demo-send"
    exit_code = 5


@dataclass(frozen=True, slots=True, eq=False)
class Study:
    """One patient's files and truth."""

    scenario: Scenario
    folder: Path
    truth: dict[str, Any]

    @property
    def uid(self) -> str:
        """Study Instance UID."""
        return str(self.truth["study_uid"])

    @property
    def series_uid(self) -> str:
        """Series Instance UID of the T2 SPACE series."""
        return str(self.truth["series_uid"])

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file that is sent, in the order of sending: the T2 SPACE series last."""
        chosen = self.scenario.send or tuple(
            sorted(p.name for p in self.folder.iterdir() if p.is_dir())
        )
        ordered = sorted(chosen, key=lambda name: name == "t2_space")
        return tuple(
            file for name in ordered for file in sorted((self.folder / name).glob("*.dcm"))
        )

    @property
    def parts(self) -> tuple[tuple[Path, ...], ...]:
        """The files of each association."""
        n, files = self.scenario.associations, self.files
        return tuple(files[len(files) * k // n : len(files) * (k + 1) // n] for k in range(n))


def make_studies(
    scenarios: Sequence[Scenario], folder: Path, done: Callable[[Scenario], None], workers: int = 2
) -> tuple[Study, ...]:
    """Write every study below `folder`, several at a time; existing ones are kept.

    Raises:
        StudyNotMade: a study could not be written.
    """
    with ThreadPoolExecutor(workers) as pool:
        waiting = {pool.submit(_make, scenario, folder): scenario for scenario in scenarios}
        for future in as_completed(waiting):
            future.result()
            done(waiting[future])
    return tuple(_read(scenario, folder) for scenario in scenarios)


def _make(scenario: Scenario, folder: Path) -> None:
    if (folder / scenario.case / "truth.json").exists():  # written last
        return
    shutil.rmtree(folder / scenario.case, ignore_errors=True)
    arguments = [command("lumbar-train"), "phantom", "--out", str(folder), "--cases", "1"]
    arguments += ["--seed", str(scenario.seed), *scenario.options]
    done = subprocess.run(
        arguments, capture_output=True, text=True, timeout=_PAINT_TIMEOUT_S, check=False
    )
    if done.returncode:
        raise StudyNotMade(f"{scenario.case}: {_last(done.stderr)}")


def _read(scenario: Scenario, folder: Path) -> Study:
    study = folder / scenario.case
    return Study(scenario, study, json.loads((study / "truth.json").read_text(encoding="utf-8")))


def _last(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1] if lines else "no message"


@dataclass(frozen=True, slots=True)
class SentStudy:
    """One study as the scanner saw it: images, seconds, and when the last one was acknowledged."""

    images: int
    seconds: float
    acknowledged_at: float


def send(
    study: Study, called_aet: str, port: int, sleep: Callable[[float], None] = time.sleep
) -> SentStudy:
    """Send a study, in one association for each of its parts.

    Raises:
        NotSent: the peer rejected it.
    """
    sender = _storescu if shutil.which("storescu") else _pynetdicom
    seconds = 0.0
    for number, part in enumerate(study.parts):
        if number:
            sleep(BETWEEN_ASSOCIATIONS_S)
        began = time.monotonic()
        for files in _chunks(part):
            sender(files, called_aet, port)
        seconds += time.monotonic() - began
    return SentStudy(len(study.files), seconds, time.time())


def _chunks(files: Sequence[Path]) -> Iterator[Sequence[Path]]:
    for start in range(0, len(files), _FILES_PER_CALL):
        yield files[start : start + _FILES_PER_CALL]


def _storescu(files: Sequence[Path], called_aet: str, port: int) -> None:
    arguments = ["storescu", "-aet", SCANNER_AET, "-aec", called_aet, LOOPBACK, str(port)]
    done = subprocess.run(
        [*arguments, *map(str, files)],
        capture_output=True,
        text=True,
        timeout=_SEND_TIMEOUT_S,
        env=dcmtk_environment(),
        check=False,
    )
    if done.returncode:
        raise NotSent(f"storescu to {called_aet} on port {port}: {_last(done.stderr)}")


def _pynetdicom(files: Sequence[Path], called_aet: str, port: int) -> None:
    """Send without DCMTK."""
    entity = ApplicationEntity(SCANNER_AET)
    entity.add_requested_context(MRImageStorage)
    association = entity.associate(LOOPBACK, port, ae_title=called_aet)
    if not association.is_established:
        raise NotSent(
            f"{called_aet} on port {port} accepts no association; check that it is running"
        )
    try:
        for file in files:
            answer = association.send_c_store(file)
            if "Status" not in answer:
                raise NotSent(f"{called_aet} on port {port} gave no answer to {file.name}")
            if answer.Status != 0:
                why = f"0x{answer.Status:04X} {answer.get('ErrorComment', '')}".strip()
                raise NotSent(f"{called_aet} on port {port} rejected {file.name}: {why}")
    finally:
        association.release()
