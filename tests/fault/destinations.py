"""Where results go: Orthanc, DCMTK's storescp, a folder; each says what it holds, by a way of its own."""

from __future__ import annotations

import errno
import hashlib
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol, TypeVar

import httpx
from pydicom import dcmread

from dicomseg.read import parsing
from node.demo import servers
from node.free_ports import free_ports
from tests.fault.surroundings import NotPossible

_T = TypeVar("_T")

_WAITS: Final = "first_wait_seconds = {first}\nmax_wait_seconds = {longest}\ntimeout_seconds = {timeout}\npatience_days = {days}\n"


@dataclass(frozen=True, slots=True)
class Waits:
    """Patience of the node with a destination, in seconds: short, so that a test sees its end."""

    first: float = 0.2
    longest: float = 1.0
    timeout: float = 5.0
    days: float = 0.05

    @property
    def lines(self) -> str:
        """Keys of the section."""
        return _WAITS.format(
            first=self.first, longest=self.longest, timeout=self.timeout, days=self.days
        )


class Destination(Protocol):
    """A destination as the verdict sees it."""

    name: str

    @property
    def section(self) -> str:
        """Its `[[node.destination]]`."""
        ...

    def held(self) -> dict[str, str]:
        """Digest of the data set of every object that it holds, by SOP Instance UID."""
        ...


def bound(start: Callable[[], _T], seconds: float = 20.0) -> _T:
    """Start a server on the port that it had before, as soon as that is free. Raises OSError.

    A child process has its parent's sockets until its own program runs: some milliseconds, longer on a busy machine.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            return start()
        except OSError as error:
            if error.errno != errno.EADDRINUSE or time.monotonic() > deadline:
                raise
            time.sleep(0.02)


def digest_of(content: bytes) -> str:
    """sha256 of the data set of a file."""
    return hashlib.sha256(content[parsing.split_file_meta(content)[0] :]).hexdigest()


def dicom_section(name: str, ae_title: str, port: int, waits: Waits, *, verify: bool) -> str:
    """Write the section of a DICOM destination."""
    proof = "auto" if verify else "none"
    return (
        f'[[node.destination]]\nname = "{name}"\nkind = "dicom"\nae_title = "{ae_title}"\n'
        f'host = "127.0.0.1"\nport = {port}\nproof = "{proof}"\n{waits.lines}'
    )


@dataclass
class Orthanc:
    """A real Orthanc, asked by REST."""

    folder: Path
    waits: Waits = field(default_factory=Waits)
    name: str = "orthanc"
    ports: servers.Ports = field(init=False)
    running: servers.Running | None = None

    def __post_init__(self) -> None:
        self.ports = servers.Ports(*free_ports(4))

    @property
    def section(self) -> str:
        return dicom_section(
            self.name, servers.PACS_AET, self.ports.pacs_dicom, self.waits, verify=True
        )

    def start(self) -> None:
        """Start it, with what it held. Raises `NotPossible`."""
        if servers.find_orthanc() is None:
            raise NotPossible("needs Orthanc (apt install orthanc-dicomweb)")
        self.running = servers.start_orthanc(self.folder, self.ports)

    def stop(self) -> None:
        """Stop it."""
        if self.running is not None:
            servers.stop(self.running)
            self.running = None

    def contents(self) -> Iterator[tuple[str, bytes]]:
        """SOP Instance UID and file of everything that it has."""
        with httpx.Client(base_url=self.ports.pacs_url, timeout=30) as client:
            for identifier in client.get("/instances").json():
                tags = client.get(f"/instances/{identifier}/simplified-tags").json()
                file = client.get(f"/instances/{identifier}/file").content
                yield str(tags["SOPInstanceUID"]), file

    def held(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for uid, file in self.contents():
            found[uid if uid not in found else f"{uid} again"] = digest_of(file)
        return found


@dataclass
class Storescp:
    """DCMTK's storescp, which keeps the bytes as they come; it answers no query."""

    folder: Path
    waits: Waits = field(default_factory=Waits)
    name: str = "storescp"
    port: int = field(init=False)
    running: servers.Running | None = None

    def __post_init__(self) -> None:
        (self.port,) = free_ports(1)

    @property
    def section(self) -> str:
        return dicom_section(self.name, "STORESCP", self.port, self.waits, verify=True)

    def start(self) -> None:
        """Start it. Raises `NotPossible`."""
        if shutil.which("storescp") is None:
            raise NotPossible("needs DCMTK's storescp (apt install dcmtk)")
        received = self.folder / "received"
        received.mkdir(parents=True, exist_ok=True)
        command = ["storescp", "+B", "-pm", "--fork", "-od", str(received), str(self.port)]
        self.running = servers.start(
            "storescp", command, self.folder / "storescp.log", lambda: servers.listens(self.port),
            env=servers.dcmtk_environment(),
        )  # fmt: skip

    def stop(self) -> None:
        """Stop it."""
        if self.running is not None:
            self.running.process.kill()
            self.running.process.wait(10)
            self.running = None

    def held(self) -> dict[str, str]:
        found = {}
        for path in (self.folder / "received").iterdir():
            content = path.read_bytes()
            found[str(dcmread(path, stop_before_pixels=True).SOPInstanceUID)] = digest_of(content)
        return found


@dataclass
class Folder:
    """A folder, which costs nothing where a scenario is not about destinations."""

    path: Path
    waits: Waits = field(default_factory=Waits)
    name: str = "folder"

    @property
    def section(self) -> str:
        return f'[[node.destination]]\nname = "{self.name}"\nkind = "folder"\npath = "{self.path}"\n{self.waits.lines}'

    def held(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for path in sorted(self.path.glob("*/*.dcm")):
            uid = str(dcmread(path, stop_before_pixels=True).SOPInstanceUID)
            found[uid if uid not in found else f"{uid} again"] = digest_of(path.read_bytes())
        return found


@contextmanager
def running(*destinations: Orthanc | Storescp) -> Iterator[None]:
    """Start destinations, and stop them at the end."""
    try:
        for destination in destinations:
            destination.start()
        yield
    finally:
        for destination in destinations:
            destination.stop()


def settle(seconds: float = 0.3) -> None:
    """Give a destination's disk a moment."""
    time.sleep(seconds)
