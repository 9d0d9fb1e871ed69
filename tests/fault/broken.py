"""Deliberately broken variants of the product: each is a fault that was found in a comparable program.

`VARIANTS` says which function each replaces and which scenario must find it out. A variant is a function that
takes the original and returns what takes its place; the launcher puts it there.
"""

from __future__ import annotations

import hashlib
import os
import pickle
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

Function = Callable[..., Any]


def acknowledge_before_write(keep: Function) -> Function:
    """Say success while the object is in memory only; write it half a second later."""
    from dataclasses import replace

    from dicomseg.read import parsing

    def later(keeper: Any, received: Any) -> str:
        content = received.incoming.path.read_bytes()
        meta = parsing.split_file_meta(content)[0]

        def write() -> None:
            time.sleep(0.5)
            incoming = type(received.incoming)(received.incoming.path.parent, content[:meta])
            incoming.write(content[meta:])
            keep(keeper, replace(received, incoming=incoming))

        threading.Thread(target=write, daemon=True).start()
        return "stored"

    return later


def nothing(_: Function) -> Function:
    """Do nothing instead."""
    return lambda *_arguments, **_keywords: None


def no_sync(_: Function) -> Function:
    """Leave it to the machine when the disk has the bytes."""
    return nothing(_)


def publish_in_place(_: Function) -> Function:
    """Write a result into its final folder, and take a folder that is there for complete."""
    from node import durable

    def publish(root: Path, name: str, files: dict[str, bytes]) -> Path:
        folder = root / name
        if not folder.exists():
            folder.mkdir()
            for file, content in files.items():
                durable.write_durably(folder / file, content)
        return folder

    return publish


def success_on_full_disk(store: Function) -> Function:
    """Answer success where the object could not be kept."""

    def always_success(*arguments: Any) -> tuple[int, str]:
        store(*arguments)
        return 0x0000, ""

    return always_success


def proof_without_answer(_: Function) -> Function:
    """Call a delivery proved without a question."""
    from node.deliver.port import StorageCheck

    return lambda _peer, _files: StorageCheck("stored", "C-FIND: it will be there")


def code_alone(_: Function) -> Function:
    """Take the HTTP code of a STOW-RS answer for the fate of every object."""
    from node.deliver.port import all_alike

    def judged(files: Any, answer: Any, _shown: str) -> Any:
        good = answer.status_code < 300
        return all_alike(files, "accepted" if good else "transient", "", "")

    return judged


def report_unread(_: Function) -> Function:
    """Take any report on storage commitment for a good one."""
    from node.deliver.port import StorageCheck

    return lambda *_: StorageCheck("stored", "reported", proof="committed")


def soon_again(_: Function) -> Function:
    """Ask an archive that does not report again after some seconds instead of ten minutes."""
    return lambda *_: 4.0


def nothing_protected(_: Function) -> Function:
    """Let everything be purged whose time is over."""
    return lambda *_: ""


def unguarded_rows(_: Function) -> Function:
    """Let the fault of one row end the step for all."""

    def each(rows: Any, act: Function, _on_fault: Function) -> int:
        return sum(act(row) for row in rows)

    return each


def unguarded_read(_: Function) -> Function:
    """Let an object that cannot be read be everybody's fault."""
    return lambda path, read: read(path)


def remembered(function: Function) -> Function:
    """Give again what was computed of the same volume or labels, in whichever process: series of the stock are copies."""
    folder = Path(os.environ["FAULT_REMEMBERED"])

    def recall(*arguments: Any, **keywords: Any) -> Any:
        asked = pickle.dumps(getattr(arguments[0], "labels", arguments[0]))
        path = folder / f"{function.__module__}.{hashlib.sha256(asked).hexdigest()}"
        if path.exists():
            return pickle.loads(path.read_bytes())  # noqa: S301 - written by ourselves
        found = function(*arguments, **keywords)
        new = path.with_suffix(f".{os.getpid()}")
        new.write_bytes(pickle.dumps(found))
        new.replace(path)
        return found

    return recall


SWIFT: Final = (
    ("nothing", "node.work.warm:warm_networks"),
    ("nothing", "node.work.warm:try_out"),
)
"""Put into every worker: without its trial runs it starts in a third of the time, and a start follows each kill."""
REMEMBERING: Final = (
    ("remembered", "model.segment:segment"),
    ("remembered", "dicomseg.measure.measure:measure"),
)
"""Put into every worker where the size is small: the network's and the ruler's work is then done once for all."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A variant. replaced: name of the function here, and the function of the product. columns: where it must show."""

    name: str
    title: str
    replaced: tuple[tuple[str, str], ...]
    scenario: str
    columns: tuple[str, ...]
    only: tuple[str, ...] = ()
    """Steps or moods of the scenario, where one is enough."""


_VARIANTS: Final = (
    Variant(
        "acknowledge-before-write",
        "success is answered before the object is written",
        (("acknowledge_before_write", "node.receive.keep:Keeper.keep"),),
        "kill-random",
        ("lost",),
        ("receive",),
    ),
    Variant(
        "no-sync",
        "nothing waits for the disk",
        (("no_sync", "node.durable:sync_bytes"), ("no_sync", "node.durable:sync_folder")),
        "sync-order",
        ("unexplained",),
    ),
    Variant(
        "left-over-taken",
        "a folder that was left half written is taken for complete",
        (("publish_in_place", "node.durable:publish"),),
        "kill-work",
        ("lost", "stuck"),
        ("work: between two files",),
    ),
    Variant(
        "drop-on-full-disk",
        "success is answered where the disk is full",
        (("success_on_full_disk", "node.receive.step:ReceiveStep.store"),),
        "disk-full",
        ("lost",),
    ),
    Variant(
        "proof-without-answer",
        "a delivery is called proved without an answer",
        (("proof_without_answer", "node.deliver.dicom:Pacs.verify_stored"),),
        "peer-loses",
        ("lost",),
    ),
    Variant(
        "code-alone",
        "the code of a STOW-RS answer is taken, not what it says of each object",
        (("code_alone", "node.deliver.dicomweb:judge_response"),),
        "web-moods",
        ("lost",),
        ("some-refused",),
    ),
    Variant(
        "report-unread",
        "a report on storage commitment is taken for a good one",
        (("report_unread", "node.deliver.prove:Prover._judge"),),
        "commitment",
        ("lost",),
        ("loses-one",),
    ),
    Variant(
        "purge-unproven",
        "what is not delivered yet is purged as well",
        (("nothing_protected", "node.retention.plan:protected"),),
        "kill-purge",
        ("lost",),
        ("purge: before the record",),
    ),
    Variant(
        "one-bad-row",
        "the fault of one series stops the step for all",
        (
            ("unguarded_rows", "node.step:each"),
            ("unguarded_read", "node.step:read_or_reason"),
        ),
        "spool-lost",
        ("stuck",),
    ),
)
VARIANTS: Final = {v.name: v for v in _VARIANTS}
