"""The step that judges segmentations of viewers, one at a time, in a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import chain, count
from pathlib import Path
from typing import Any, Final

from dicomseg.encode.uids import ResultKey
from dicomseg.read.correction import References
from dicomseg.read.segments import SEG_CLASSES
from node.clock import Clock, at_text
from node.events import CorrectionJudged, Log
from node.journal.corrections import CorrectionRow, CorrectionState, Judgement
from node.journal.journal import Journal
from node.journal.rows import InstanceRow, ResultRow, SeriesKey
from node.review.kept import RESULT, CorrectionFolders, entry_of, file_of
from node.review.sources import Segmented, find_segmented
from node.sandbox.child import Child, Silence
from node.step import PutOff, each
from node.store.results import read_result

LOOK_S: Final = 1.0
AGAIN_S: Final = 10.0
"""Until a segmentation is looked at again whose series is still being processed."""
MOST_S: Final = 300.0
"""Processor time for one segmentation, with measuring; chosen generously, not measured on the largest."""
_MODULE: Final = "node.review.judge_process"
_ROLES: Final = ("seg", "seg.binary", "seg.fractional", "seg.labelmap")
"""Roles that the UIDs of our segmentation follow from, in every form (`seg_form.role_of`)."""
SEG_FILE: Final = "seg.dcm"
_SILENT: Final = {
    "late": f"reading it took more than {MOST_S:g} s; export it again",
    "ended": "it ended the process that reads it; export it again",
}
Ask = Callable[[object], Any]


@dataclass(slots=True)
class ReviewStep:
    """Judges the segmentations of skipped series; what waits for a result is looked at again."""

    journal: Journal
    state: Path
    clock: Clock
    log: Log
    ask: Ask
    end: Callable[[], None] = lambda: None
    _folders: CorrectionFolders = field(init=False)
    _due: float = 0.0
    _swept: bool = False
    _waits: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._folders = CorrectionFolders(self.state)

    @classmethod
    def of(cls, journal: Journal, state: Path, clock: Clock, log: Log) -> ReviewStep:
        """Build it with the process that reads; the process lives while there is something to judge."""
        child = Child(_MODULE, MOST_S)
        return cls(journal, state, clock, log, child.ask, child.close)

    def run_once(self) -> int:
        """Judge what is there; returns how many segmentations were."""
        now = self.clock.monotonic()
        if now < self._due:
            return 0
        self._due = now + LOOK_S
        if not self._swept:
            self._sweep()
            self._swept = True
        series = self.journal.corrections.waiting()
        rows = [self.journal.series.get(key) for key in series]
        put_off = PutOff(self.journal, "review", self.clock, self.log)
        judged = each(rows, lambda row: self._series(row.key, row.state_at), put_off)
        if series:
            self.end()
        else:
            self._waits.clear()
        return judged

    def _series(self, key: SeriesKey, seen_at: float) -> int:
        done = self.journal.corrections.judged(key, seen_at)
        judged = 0
        for seg in self.journal.instances.of_series(key):
            if seg.sop_class_uid not in SEG_CLASSES or (seg.sop_instance_uid, seg.digest) in done:
                continue
            if self._waits.get(seg.digest, 0.0) > self.clock.monotonic():
                continue
            found = self._judge(seg)
            if found is None:
                self._waits[seg.digest] = self.clock.monotonic() + AGAIN_S
                continue
            self.journal.corrections.record(seg, seen_at, found)
            self._report(seg, found)
            judged += 1
        return judged

    def _report(self, seg: InstanceRow, found: Judgement) -> None:
        if found.state is CorrectionState.ACCEPTED:
            self._sweep()
        source = "" if found.source is None else found.source.series
        self.log(CorrectionJudged(seg.series.series, source, found.state, found.code, found.reason))

    def _sweep(self) -> None:
        """Leave only the folders of accepted rows where they are imported from."""
        rows = self.journal.corrections.all()
        accepted = {r.entry for r in rows if r.state is CorrectionState.ACCEPTED}
        for entry in {r.entry for r in rows if r.state is CorrectionState.REMOVED} - accepted:
            self._folders.remove(entry)  # what a killed command left
        self._folders.keep_only(accepted)

    # ---- one segmentation ------------------------------------------------------------------------

    def _judge(self, seg: InstanceRow) -> Judgement | None:
        """Judge one; None where the result that it may correct is still on its way. Raises OSError."""
        heard = self._hear(["references", str(seg.path)])
        if "refused" in heard:
            return _refusal(heard["refused"], None, "")
        named = References(*(tuple(heard["references"][k]) for k in ("series", "images")))
        found = find_segmented(self.journal, seg.series, named)
        if any(f.is_on_its_way for f in found):
            return None
        if not found:
            return _unrelated("unknown-series", "it segments no series of this node")
        if len(found) > 1:
            return _no(found[0], "several-series", "it segments several series with results; export one per series")  # fmt: skip
        return self._of_series(seg, found[0])

    def _of_series(self, seg: InstanceRow, segmented: Segmented) -> Judgement:
        if not segmented.results:
            return _unrelated("no-result", "the series that it segments has no result", segmented.series.key)  # fmt: skip
        result = _meant(seg, segmented)
        images = [i.path for i in self.journal.instances.of_series(segmented.series.key)]
        if result is None or not images:
            return _no(segmented, "purged-result", "images or result were removed by [retention] or a person; send the images again")  # fmt: skip
        earlier = self._earlier(seg, segmented.series.key)
        question = {
            "seg": str(seg.path),
            "earlier": [str(path) for _, path in earlier],
            "images": [str(p) for p in images],
            "result": str(result.folder),
            "own": sorted(uid for r in segmented.results for uid in _own_uids(r)),
        }
        heard = self._hear(["judge", question])
        if "refused" in heard:
            return _refusal(heard["refused"], segmented.series.key, result.result_id)
        parts = [earlier[n] for n in heard["kept"]]
        segs = {file_of(row.digest): path for row, path in parts}
        segs[file_of(seg.digest)] = seg.path
        record = {
            "schema": 2,
            "segmentations": list(segs),
            "sop_instance": seg.sop_instance_uid,
            "sent_by": seg.calling_ae,
            "received": at_text(seg.received_at),
            "content_creator": heard["creator"],
            "study": segmented.series.key.study,
            "series": segmented.series.key.series,
            "result_id": result.result_id,
            "model": read_result(result.folder).get("model"),
            **heard["accepted"],
        }
        own = result.folder / SEG_FILE
        files = segs | ({RESULT: own} if own.is_file() else {})
        files |= {f"{n:05d}.dcm": image for n, image in enumerate(images)}
        entry = self._free_entry(seg.digest)
        self._folders.publish(entry, files, record)
        return Judgement(
            CorrectionState.ACCEPTED, source=segmented.series.key, result_id=result.result_id,
            entry=entry, figures=heard["accepted"], kept=tuple(row.id for row, _ in parts),
        )  # fmt: skip

    def _earlier(self, seg: InstanceRow, source: SeriesKey) -> list[tuple[CorrectionRow, Path]]:
        """Return the files of others that may hold segments of the case, oldest first; what is gone no longer counts."""
        found: list[tuple[CorrectionRow, Path]] = []
        for row in self.journal.corrections.parts(source):
            if (row.sop_instance, row.digest) == (seg.sop_instance_uid, seg.digest):
                continue
            inside = self._folders.accepted / row.entry / file_of(row.digest)
            stored = self.journal.instances.named(row.sop_instance)
            paths = [inside] if row.entry else [i.path for i in stored if i.digest == row.digest]
            found += [(row, path) for path in paths[-1:] if path.is_file()]
        return found

    def _free_entry(self, digest: str) -> str:
        """Return a name that no row has: what a row names is not made again while it is read."""
        taken = {row.entry for row in self.journal.corrections.all()}
        names = chain([entry_of(digest)], (f"{entry_of(digest)}-{n}" for n in count(2)))
        return next(name for name in names if name not in taken)

    def _hear(self, question: object) -> dict[str, Any]:
        """Return the answer of the process; its silence is a refusal. Raises OSError."""
        heard = self.ask(question)
        if isinstance(heard, Silence):
            text = _SILENT[heard.cause]
            return {
                "refused": {"code": "unreadable-segmentation", "text": text, "is_correction": True}
            }
        if "errno" in heard:
            raise OSError(heard["errno"], "a file of the correction cannot be read")
        return dict(heard)


def _meant(seg: InstanceRow, segmented: Segmented) -> ResultRow | None:
    """Return the result to compare with: that whose object this is, if it is ours, else the newest."""
    kept = [r for r in segmented.results if r.purged_at is None]
    own = [r for r in kept if seg.sop_instance_uid in _own_uids(r)]
    return own[-1] if own else segmented.newest()


def _own_uids(result: ResultRow) -> set[str]:
    """Return the SOP Instance UIDs of a result, in every form in which it may have been sent."""
    key = ResultKey(result.result_id)
    objects = read_result(result.folder).get("objects")
    listed = objects if isinstance(objects, list) else []
    named = {str(o.get("sop_instance")) for o in listed if isinstance(o, dict)}
    return named | {key.uid(f"{role}.instance") for role in _ROLES}


def _refusal(refused: dict[str, Any], source: SeriesKey | None, result_id: str) -> Judgement:
    state = CorrectionState.REFUSED if refused["is_correction"] else CorrectionState.UNRELATED
    return Judgement(state, refused["code"], refused["text"], source, result_id)


def _no(segmented: Segmented, code: str, text: str) -> Judgement:
    return Judgement(CorrectionState.REFUSED, code, text, segmented.series.key)


def _unrelated(code: str, text: str, source: SeriesKey | None = None) -> Judgement:
    return Judgement(CorrectionState.UNRELATED, code, text, source)
