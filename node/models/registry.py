"""Which bundle is in service: installed ones, promotion, and the way back.

A promoted bundle is a copy below the state folder, verified and tried before one row of the journal puts
it into service. Workers look at that row between two series.
"""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from model.bundle.card import FILES, default_path, read_card
from model.errors import BundleError
from node.clock import at_text
from node.durable import PART, copy_durably, unfinished_folder
from node.errors import ChangedMeanwhile, DiskFull, PromotionRefused
from node.journal.job_rows import JobRow, Promotion
from node.journal.journal import Journal
from node.journal.promotions import PROMOTED, ROLLED_BACK
from node.journal.states import JobState
from node.models.retraining import JobDirectory
from node.store.layout import StateDirectory

_WORD: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,63}")
"""What a name or version may be that becomes part of a folder's name."""


@dataclass(frozen=True, slots=True)
class ModelRegistry:
    """Where bundles are: the state folder, the journal, and the configured bundle (None: the shipped)."""

    state: Path
    journal: Journal
    configured: Path | None

    @property
    def fallback(self) -> Path:
        """The bundle that serves when none was promoted."""
        return self.configured or default_path()

    @property
    def in_service(self) -> Path:
        """Folder of the bundle in service."""
        return self.journal.promotions.folder_in_service(self.configured) or default_path()

    @property
    def models(self) -> Path:
        """Folder of the installed bundles."""
        return StateDirectory(self.state).models

    def installed(self) -> list[Path]:
        """Return the folders of the installed bundles, by name."""
        if not self.models.is_dir():
            return []
        return sorted(p for p in self.models.iterdir() if p.is_dir() and not p.name.startswith("."))


@dataclass(frozen=True, slots=True)
class Request:
    """Who asks, and why; both go into the journal.

    seen: number of the newest change of the bundle in service as they saw it, 0 for none; None: whatever is newest.
    """

    by: str
    reason: str
    seen: int | None = None


def folder_name(card: Mapping[str, Any]) -> str:
    """Return `<name>-<version>-<digest12>`. Raises `BundleError` for words that are no part of a file name."""
    for key in ("name", "version"):
        if not _WORD.fullmatch(str(card[key])):
            raise BundleError(
                f"the card's {key} {card[key]!r} cannot name a folder; use letters, digits and . _ + -"
            )
    return f"{card['name']}-{card['version']}-{card['digest'][:12]}"


def install(source: Path, models: Path) -> tuple[Path, dict[str, Any]]:
    """Copy a bundle below `models` and verify the copy; returns its folder and card.

    A bundle that is there and intact is kept; a damaged one is replaced.

    Raises:
        BundleError: the source or the copy is not what its card says.
        DiskFull: no room for the copy.
    """
    card = read_card(source)
    place = models / folder_name(card)
    part = models / f".{place.name}{PART}"
    if source.resolve() == place.resolve() or _is_intact(place, card["digest"]):
        return place, card
    with _room(models), unfinished_folder(place, part):
        for name in FILES:
            if (source / name).exists():
                copy_durably(source / name, part / name)
        if read_card(part)["digest"] != card["digest"]:
            raise BundleError(f"{source} changed while it was copied; retry")
        shutil.rmtree(place, ignore_errors=True)
    return place, card


def promote(
    registry: ModelRegistry, source: Path, request: Request, job: JobRow | None = None
) -> Promotion:
    """Put a bundle into service; `job` is the retraining that proposed it.

    Raises:
        PromotionRefused: it is in service already, or the job did not propose it against what is.
        ChangedMeanwhile: the bundle in service was changed since the person looked.
        BundleError: it is damaged, or cannot be loaded.
        DiskFull: no room for the copy.
    """
    seen = newest_change(registry, request)
    current = _digest_in_service(registry, seen)
    card = read_card(source)
    if card["digest"] == current and _is_intact(registry.in_service, current):
        raise PromotionRefused(f"{card['name']} {card['version']} is already in service")
    if job is not None:
        _check_proposal(job, card, current)
    place, card = install(source, registry.models)
    _test_load(place)
    seen_id = 0 if seen is None else seen.id
    row = _row(PROMOTED, place, card, current, request)
    job_id = None if job is None else job.id
    return _record(
        registry, request, replace(row, before_id=seen_id or None, job_id=job_id), seen_id
    )


def rollback(registry: ModelRegistry, request: Request) -> Promotion:
    """Return to the bundle that was in service before the present one.

    Raises:
        PromotionRefused: the configured bundle is in service.
        ChangedMeanwhile: the bundle in service was changed since the person looked.
        BundleError: the bundle to return to is damaged or gone.
    """
    seen = newest_change(registry, request)
    if seen is None or seen.folder is None:
        raise nothing_before()
    target = registry.journal.promotions.before(seen)
    folder = None if target is None else target.folder
    card = read_card(folder or registry.fallback)
    if target is not None and folder is not None and card["digest"] != target.digest:
        raise BundleError(f"{folder} is another bundle than was promoted; restore it and retry")
    _test_load(folder or registry.fallback)
    row = _row(ROLLED_BACK, folder, card, seen.digest, request)
    before_id = None if target is None else target.before_id
    return _record(registry, request, replace(row, before_id=before_id), seen.id)


def newest_change(registry: ModelRegistry, request: Request) -> Promotion | None:
    """Return the newest change. Raises `ChangedMeanwhile` where the person saw an earlier one."""
    newest = registry.journal.promotions.newest()
    if newest is not None and request.seen not in {None, newest.id}:
        raise ChangedMeanwhile(
            f"{newest.asked_by} put {newest.name} {newest.version} into service at {at_text(newest.at)[:19]}"
            f" ({newest.event.replace('_', ' ')}); review it, then ask again"
        )
    return newest


def _record(registry: ModelRegistry, request: Request, row: Promotion, seen_id: int) -> Promotion:
    """Record a change; another person's change is named where `request.seen` is given."""
    try:
        return registry.journal.promotions.record(row, seen_id)
    except PromotionRefused:
        newest_change(registry, request)
        raise


def nothing_before() -> PromotionRefused:
    """Say that no bundle was promoted."""
    return PromotionRefused(
        "the configured bundle is in service; there is no earlier bundle to roll back to"
    )


def find_candidate(state: Path, job: JobRow) -> Path:
    """Return the folder of the bundle that a job proposes. Raises `PromotionRefused` when it proposes none."""
    if job.state is not JobState.PROPOSED:
        raise PromotionRefused(
            f"job {job.id} is {job.state}; only a proposed candidate can be promoted; see `lumbar-node jobs show {job.id}`"
        )
    return JobDirectory.of(state, job.id).candidate


def _digest_in_service(registry: ModelRegistry, seen: Promotion | None) -> str:
    """Digest of the bundle in service; empty when it is a damaged one, which may be replaced."""
    if seen is not None and seen.folder is not None:
        return seen.digest
    try:
        return str(read_card(registry.fallback)["digest"])
    except BundleError:
        return ""


def _check_proposal(job: JobRow, card: Mapping[str, Any], current: str) -> None:
    """Refuse what was not compared, or not with the model in service."""
    sides = {
        "candidate": (card["digest"], "is not the bundle that was compared"),
        "in_service": (current, "was compared with another model than the one in service now"),
    }
    for side, (digest, text) in sides.items():
        if job.outcome.get(side, {}).get("digest") != digest:
            raise PromotionRefused(
                f"the candidate of job {job.id} {text}; enqueue a new job, or promote its folder on your own judgement"
            )


def _row(
    event: str, folder: Path | None, card: Mapping[str, Any], replaced: str, request: Request
) -> Promotion:
    """A row for the journal, which gives it number and time; nothing before it, no job."""
    return Promotion(
        0, 0.0, event, folder, str(card["name"]), str(card["version"]), card["digest"], replaced,
        None, None, request.by, request.reason,
    )  # fmt: skip


def _test_load(folder: Path) -> None:
    """Load once, so that a mismatch of weights, graphs and card is found here, not by a worker."""
    from model.bundle.load import load_bundle  # noqa: PLC0415 - imports the engine, which `models list` does without

    load_bundle(folder, device="cpu")


def _is_intact(place: Path, digest: str) -> bool:
    try:
        return bool(read_card(place)["digest"] == digest)
    except BundleError:
        return False


@contextmanager
def _room(models: Path) -> Iterator[None]:
    """Name a full disk as such."""
    try:
        yield
    except OSError as error:
        if error.errno in {errno.ENOSPC, errno.EDQUOT}:
            raise DiskFull(
                f"{models}: no room for the bundle; free space and retry; nothing was changed"
            ) from error
        raise
