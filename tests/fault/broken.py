"""Deliberately broken variants of the product: each is a fault that was found in a comparable program.

`VARIANTS` says which function each replaces and which scenario must find it out. A variant is a function that
takes the original and returns what takes its place; the launcher puts it there.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
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
    from pathlib import Path

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


def unguarded_rows(_: Function) -> Function:
    """Let the fault of one row end the step for all."""

    def each(rows: Any, act: Function, _on_fault: Function) -> int:
        return sum(act(row) for row in rows)

    return each


def unguarded_read(_: Function) -> Function:
    """Let an object that cannot be read be everybody's fault."""
    return lambda path, read: read(path)


SWIFT: Final = (
    ("nothing", "node.work.warm:warm_networks"),
    ("nothing", "node.work.warm:try_out"),
)
"""Put into every worker: without its trial runs it starts in a third of the time, and a start follows each kill."""


@dataclass(frozen=True, slots=True)
class Variant:
    """A variant. replaced: name of the function here, and the function of the product. columns: where it must show."""

    name: str
    title: str
    replaced: tuple[tuple[str, str], ...]
    scenario: str
    columns: tuple[str, ...]
    only: tuple[str, ...] = ()
    """Steps of the scenario, where one is enough."""


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
