"""Spool and journal brought together: after a kill, and when the journal is new.

Files are the truth: what lies in the spool or in the quarantine gets its row, whatever it holds. A new
journal gets its results back from their folders too, so that no series is computed again.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, Literal, cast

from dicomseg.errors import Unreadable
from node.durable import PART
from node.events import SpoolSwept
from node.journal.file import JournalError, is_damage
from node.journal.journal import Journal
from node.journal.rows import NewInstance, ResultRow, SeriesKey
from node.journal.states import InstanceState
from node.receive.compare_process import Comparer
from node.sandbox.headers import HeaderReader
from node.store.results import read_result, read_withdrawals
from node.store.spool import Spool, data_set_digest

if TYPE_CHECKING:  # the module encodes, and takes half a second to import
    from dicomseg.encode.rejection_note import RejectionReason

REASONS: Final = frozenset(
    {"corrected_identity", "newer_input", "withdrawn", "newer_comparison", "input_changed"}
)
"""Those of `RejectionReason`."""
_REPLACED: Final = frozenset({"newer_input", "newer_comparison"})
"""Of those, what is true only while the one in its place is there."""
NO_REASON: Final = "was kept apart before the journal was made new; the log of that time says why"


def adopt(
    spool: Spool, journal: Journal, tell: Callable[[Path, str], None] = lambda *_: None
) -> SpoolSwept:
    """Give every complete file without a row its row. Never raises for what a file holds.

    Such a file was never acknowledged, unless the journal is new; its sender will send again, and then it
    is the same object. It is stored when its header can be read, takes the place of an older object as
    reception lets it (`node.receive.compare`), else it goes to the quarantine with its reason.
    tell: hears of each file what became of it: stored, set aside or left.
    """
    removed, known = spool.sweep(), journal.instances.paths()
    apart = spool.orphans(known, spool.directory.quarantine)
    compare, read = Comparer(), HeaderReader()
    try:
        endings: list[str] = []
        for path in sorted(apart, key=_age):
            endings.append(_keep_apart(path, journal, NO_REASON, read))
            tell(path, endings[-1])
        for path in sorted(spool.orphans(known, spool.directory.spool), key=_age):
            endings.append(_adopt(path, spool, journal, compare, read))
            tell(path, endings[-1])
    finally:
        compare.close()
        read.close()
    directory = spool.directory
    taken_back = {} if known else read_withdrawals(directory.withdrawals)
    results = 0 if known else restore_results(directory.results, journal, taken_back)
    return SpoolSwept(
        removed, endings.count("stored"), endings.count("set aside"), endings.count("left"), results
    )


def _adopt(
    path: Path, spool: Spool, journal: Journal, compare: Comparer, read: HeaderReader
) -> str:
    """Store one file of the spool, or set it aside; returns what became of it."""
    try:
        facts = _new_instance(path, read)
        known = journal.instances.stored_digest(facts.sop_instance_uid)
        if known is not None and known[0] != facts.digest and _corrects(path, known[1], compare):
            journal.instances.correct(facts)
            return "stored"
        if journal.instances.add(facts) == "conflict":
            return "set aside"
    except JournalError as error:
        if is_damage(error):
            raise
        return "left"  # the journal is held by another program; the next start finds the file again
    except OSError:
        return "left"  # the machine has no room to compare it now
    except Exception as error:  # noqa: BLE001 - one file must not keep the node from starting
        return _set_aside(path, spool, journal, error, read)
    return "stored"


def _corrects(path: Path, known: Path, compare: Comparer) -> bool:
    return compare(known, path).value == "corrected"


def _set_aside(
    path: Path, spool: Spool, journal: Journal, fault: Exception, read: HeaderReader
) -> str:
    # The text of an unforeseen fault may quote the data set.
    reason = str(fault) if isinstance(fault, Unreadable) else type(fault).__name__
    try:
        target = spool.set_aside(path)
    except OSError:
        return "left"
    # One reason for all objects with one fault, whatever their files are called.
    reason = reason.removeprefix(f"{path.name}: ")
    return _keep_apart(target, journal, f"cannot be read: {reason}", read)


def _keep_apart(path: Path, journal: Journal, reason: str, read: HeaderReader) -> str:
    try:
        journal.instances.quarantine(
            replace(_best_instance(path, read), digest=_digest(path)), reason
        )
    except Exception:  # noqa: BLE001 - as above
        return "left"
    return "set aside"


def _new_instance(path: Path, read: HeaderReader) -> NewInstance:
    instance = read(path)
    return NewInstance(
        instance.sop_instance_uid, instance.sop_class_uid, instance.study_uid, instance.series_uid,
        instance.digest, instance.transfer_syntax_uid, path, path.stat().st_size,
    )  # fmt: skip


def _best_instance(path: Path, read: HeaderReader) -> NewInstance:
    """Describe an object that may be unreadable: the UIDs of its file meta information, or none."""
    try:
        return _new_instance(path, read)
    except Exception:  # noqa: BLE001 - it is quarantined for what it holds
        meta = read.meta(path)
        names = ("MediaStorageSOPInstanceUID", "MediaStorageSOPClassUID", "TransferSyntaxUID")
        instance, sop_class, syntax = (meta.get(name, "") for name in names)
        return NewInstance(
            instance, sop_class, "", "", _digest(path), syntax, path, path.stat().st_size
        )


def _digest(path: Path) -> str:
    """The file's name is its object's digest and syntax (`Spool`); any other file is known by its own digest."""
    if len(path.stem.partition("-")[0]) == hashlib.sha256().digest_size * 2:
        return path.stem
    return data_set_digest(path)


def _age(path: Path) -> tuple[float, str]:
    """Order of arrival."""
    try:
        return path.stat().st_mtime, path.name
    except OSError:
        return 0.0, path.name


# ---- results -------------------------------------------------------------------------------------


def restore_results(
    folder: Path, journal: Journal, taken_back: Mapping[str, str] = MappingProxyType({})
) -> int:
    """Record the results and follow-ups whose folders are there, oldest first; returns how many.

    taken_back: results that a rejection note takes back, with its reason.

    Their deliveries are unknown: a series that finds its result again sends it again, with the same UIDs.
    """
    contents = {p.name: read_result(p) for p in _folders(folder)}
    after = {_before(content): name for name, content in contents.items()}
    rows = sorted(contents.items(), key=lambda item: (_depth(item[0], contents), _created(item[1])))
    return sum(
        _restore(folder / name, content, after.get(name, ""), journal, taken_back.get(name, ""))
        for name, content in rows
    )


def _before(content: dict[str, Any]) -> str:
    return str(content.get("predecessor") or "")


def _folders(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path.is_dir() and not path.name.endswith(PART):
            yield path


def _depth(name: str, contents: dict[str, dict[str, Any]]) -> int:
    """How many results came before one, by their predecessors."""
    seen: list[str] = []
    while name in contents and name not in seen:
        seen.append(name)
        name = _before(contents[name])
    return len(seen)


def _created(content: dict[str, Any]) -> float:
    """Seconds since 1970; 0 where it is not recorded."""
    try:
        return datetime.fromisoformat(str(content.get("created"))).timestamp()
    except ValueError:
        return 0.0


def _restore(
    path: Path, content: dict[str, Any], after: str, journal: Journal, taken_back: str
) -> bool:
    source, model, inputs = content.get("source"), content.get("model"), content.get("inputs")
    is_followup = content.get("kind") == "followup" and isinstance(inputs, list)
    if not isinstance(source, dict) or not (isinstance(model, dict) or is_followup):
        return False
    key = SeriesKey(str(source.get("study", "")), str(source.get("series", "")))
    digest = str(model.get("digest", "")) if isinstance(model, dict) else ""
    compared = tuple(map(str, inputs or ())) if is_followup else ()
    because = _because(key, after, journal, taken_back, is_followup=is_followup)
    row = ResultRow(
        path.name, path, digest, 0, _created(content), after, because, inputs=compared
    )  # fmt: skip
    return journal.restore.add_result(key, row)


def _because(
    key: SeriesKey, after: str, journal: Journal, taken_back: str, *, is_followup: bool
) -> RejectionReason | Literal[""]:
    """Why a result is superseded: as its rejection note says, or after what came in its place.

    After a correction each may be of the wrong person, so that is the reason given where no note says another.
    """
    if taken_back in REASONS and (after or taken_back not in _REPLACED):
        return cast("RejectionReason", taken_back)
    if not after:
        return ""
    corrected = any(i.state is InstanceState.SUPERSEDED for i in journal.instances.unused(key))
    if corrected:
        return "corrected_identity"
    return "newer_comparison" if is_followup else "newer_input"
