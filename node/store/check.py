"""Whether a kept file is what was received or written: its size, its digest, the transfer syntax that it names.

Whatever reads a file returns a fault, not an exception.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from node.store.results import read_result
from node.store.spool import data_set_digest

MISSING: Final = "the file is missing"
UNREADABLE: Final = "cannot be read"
"""Beginning of a fault that may be the machine's and not the file's."""
NO_LIST: Final = "result.json is missing, or cannot be read"
_SYNTAX: Final = b"\x02\x00\x10\x00UI"
"""Tag and VR of Transfer Syntax UID in the file meta information (PS3.10 section 7.1)."""
_HEAD: Final = 4096


def object_fault(path: Path, size: int, digest: str, syntax: str, *, quick: bool) -> str:
    """Return what is wrong with an object's file, "" if it is what was received.

    digest: as a row has it, perhaps with the transfer syntax behind. syntax: Transfer Syntax UID, "" for any.
    quick: compare the size alone.
    """
    try:
        found = path.stat().st_size
        if found != size:
            return f"{found} bytes, {size} were received"
        if quick:
            return ""
        # The digest of an object that also came in a second transfer syntax names both.
        if data_set_digest(path) != digest.partition("-")[0]:
            return "content differs from what was received"
        named = _named_syntax(path)
        if syntax and named != syntax:
            return f"its file meta information names the transfer syntax {named or 'of none'}, not {syntax}"
    except FileNotFoundError:
        return MISSING
    except Exception as error:  # noqa: BLE001 - a file that cannot be read is a finding
        return f"{UNREADABLE} ({_cause(error)})"
    return ""


def _named_syntax(path: Path) -> str:
    """Return the transfer syntax that a file names, "" without one; only signs of a UID."""
    with path.open("rb") as file:
        head = file.read(_HEAD)
    at = head.find(_SYNTAX)
    if at < 0:
        return ""
    begin = at + len(_SYNTAX) + 2
    length = int.from_bytes(head[begin - 2 : begin], "little")
    text = head[begin : begin + length].decode("ascii", "replace").rstrip("\0 ")
    return text if set(text) <= set("0123456789.") else "that is no UID"


def result_faults(folder: Path, *, quick: bool) -> Iterator[str]:
    """Yield what is wrong with each file of a result, "" for an intact one."""
    content = read_result(folder)
    objects, further = content.get("objects"), content.get("files", [])
    if not isinstance(objects, list) or not isinstance(further, list):
        yield NO_LIST
        return
    for entry in (*objects, *further):
        yield _file_fault(folder, entry, quick=quick)


def _file_fault(folder: Path, entry: Any, *, quick: bool) -> str:
    name = ""
    try:
        path = folder.joinpath(*_inside(entry["file"]))
        name = str(path.relative_to(folder))
        size = path.stat().st_size
        if size != entry["bytes"]:
            return f"{name} has {size} bytes, {entry['bytes']} were written"
        if quick:
            return ""
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        return "" if digest == entry["sha256"] else f"{name} differs from what was written"
    except FileNotFoundError:
        return f"{name} is missing"
    except Exception as error:  # noqa: BLE001 - as above
        return f"a file {UNREADABLE} ({_cause(error)})"


def _inside(file: str) -> tuple[str, ...]:
    """Return the parts of a path within a result folder, without what leads out of it."""
    return tuple(part for part in Path(file).parts if part not in {"/", ".."})


def _cause(error: Exception) -> str:
    # The text of an unforeseen fault may quote the data set.
    return getattr(error, "strerror", None) or type(error).__name__
