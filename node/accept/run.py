"""One acceptance test from the first C-ECHO to the folder with its page."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import MRImageStorage

from dicomseg.errors import InputRefused
from dicomseg.read.geometry_problem import GeometryProblem
from dicomseg.read.pixels import read_source
from dicomseg.volume import Volume
from node.accept import proofs, returned
from node.accept.checks import Check, passes
from node.accept.identity import Run, write_source
from node.accept.port import Peer, Reporter
from node.accept.retrieve import Fetched, Wanted
from node.accept.validators import validator_checks
from node.config.sections import Config
from node.deliver.forms import base_name, prepare, sent_names
from node.deliver.offers import NATIVE, Offer, class_title, offers_for
from node.deliver.port import Outcome, ResultFile, read_result_file
from node.durable import private_folder
from node.phantom.process import judge_files, load_serving_model, process_grid
from node.phantom.study import OPTIONS, Phantom, make_phantom
from node.phantom.truth import compare_values, level_off_mm
from node.store.results import read_result

CONNECTION: Final = "Connection"
STORED: Final = "Storage"
BACK: Final = "Retrieval"
IMAGES: Final = "Images that came back"
RESULT: Final = "Result that came back"
PIPELINE: Final = "Pipeline"
ELIGIBLE: Final = "eligible"
_CHUNK: Final = 16
"""Objects between two lines of progress."""


@dataclass(slots=True, eq=False)
class Acceptance:
    """What one test knows; `checks` grows with every step.

    sent: every object that the destination took, images first. picture: the page of the result as RGB pixels, of the
    copy that came back.
    """

    config: Config
    peer: Peer
    run: Run
    folder: Path
    report: Reporter
    checks: list[Check] = field(default_factory=list)
    result: dict[str, Any] = field(default_factory=dict)
    result_folder: Path = field(default_factory=Path)
    sent: list[ResultFile] = field(default_factory=list)
    fetched: Fetched | None = None
    picture: Any = None

    @property
    def work(self) -> Path:
        """Folder of everything that is removed at the end."""
        return self.folder / "work"

    def perform(
        self, options: tuple[str, ...] = OPTIONS, after: Callable[[Acceptance], None] | None = None
    ) -> None:
        """Do everything after `connect`; what fails is a check. after: is called while the sent files are there.

        The errors of model and phantom pass through.
        """
        private_folder(self.work)
        try:
            phantom = self._phantom(options)
            source = write_source(phantom.files, self.work / "source", self.run)
            self._process(source)
            images = self._send("images", [read_result_file(f) for f in source])
            objects = self._send("result objects", self._objects())
            self._query()
            copies = self._fetch()
            self._judge_images(images, copies)
            self._judge_result(objects, copies)
            self._judge_identity(copies)
            self._prove(phantom, images, objects, copies)
            self._validate(objects, copies)
            if after is not None:
                after(self)
        finally:
            shutil.rmtree(self.work, ignore_errors=True)

    # --- there ---

    def connect(self) -> None:
        """Ask the destination what it takes. Raises `PeerUnreachable`."""
        self.report.stage("asking the destination what it takes")
        offers = [Offer("images", str(MRImageStorage), tuple(map(str, NATIVE))), *offers_for(self.peer.config)]  # fmt: skip
        answer = self.peer.destination.echo(offers)
        self.add(Check(CONNECTION, "The destination responds", "an answer", answer.text, "passed"))
        refused = [o for o in answer.objects if o.value == "refused"]
        unknown = answer.objects and all(o.value == "unknown" for o in answer.objects)
        seen = f"{len(answer.objects) - len(refused)} of {len(offers)} taken"
        if unknown:
            seen = "only sending shows"
        self.add(Check(
            CONNECTION, "It takes images and every result object", f"{len(offers)} kinds of object", seen,
            "not possible" if unknown else passes(not refused),
            "; ".join(dict.fromkeys(o.remedy for o in refused)),
            details=tuple(f"{o.offer.file} {class_title(o.offer.sop_class)}: {o.value}" for o in answer.objects),
        ))  # fmt: skip

    def _phantom(self, options: tuple[str, ...]) -> Phantom:
        self.report.stage("making the synthetic study")
        return make_phantom(self.work / "phantom", options)

    def _process(self, source: Sequence[Path]) -> None:
        self.report.stage("segmenting and measuring it with the bundle in service")
        candidate = judge_files(source, self.config)
        eligible = candidate.verdict.value == "yes"
        reasons = "; ".join(candidate.verdict.reasons)
        self.add(Check(PIPELINE, "The rules of this node accept the images", "eligible", "eligible" if eligible else reasons, passes(eligible)))  # fmt: skip
        if isinstance(candidate.grid, GeometryProblem):
            raise InputRefused(f"the synthetic study: {candidate.grid.text}")
        model = load_serving_model(self.config)
        done = process_grid(candidate.grid, model, self.config, self.folder / "result")
        self.result_folder, self.result = done.folder, read_result(done.folder)

    def _objects(self) -> list[ResultFile]:
        profile = self.peer.config.sends
        names = sent_names(self.result_folder, profile)
        compress = profile.compress == "rle"
        return list(prepare(self.result_folder, names, self.work / "outgoing", compress=compress))

    def _send(self, what: str, files: Sequence[ResultFile]) -> list[ResultFile]:
        """Send files; returns those that were taken."""
        self.report.stage(f"sending {len(files)} {what}")
        outcomes: list[Outcome] = []
        for start in range(0, len(files), _CHUNK):
            outcomes += self.peer.destination.send(files[start : start + _CHUNK])
            self.report.count(len(outcomes), len(files))
        taken = [f for f, o in zip(files, outcomes, strict=True) if o.disposition == "accepted"]
        wrong = [o for o in outcomes if o.disposition != "accepted"]
        seen = f"{len(taken)} of {len(files)}" + (f"; {wrong[0].file}: {wrong[0].text}" if wrong else "")  # fmt: skip
        self.add(Check(
            STORED, f"Accepts the {what}", f"{len(files)} of {len(files)}", seen, passes(not wrong),
            wrong[0].text if wrong else "", details=tuple(f"{o.file}: {o.status} {o.text}" for o in wrong),
        ))  # fmt: skip
        self.sent += taken
        return taken

    def _query(self) -> None:
        self.report.stage("asking whether it holds them")
        answer = self.peer.destination.verify_stored(self.sent)
        held = answer.value == "stored"
        possible = answer.value != "unsupported"
        self.add(Check(
            STORED, "Names every object when it is asked", f"{len(self.sent)} objects", answer.text,
            passes(held) if possible else "not possible",
        ))  # fmt: skip

    # --- and back ---

    def _fetch(self) -> dict[str, Path]:
        self.report.stage("getting everything back")
        folder = self.work / "back"
        private_folder(folder)
        wanted = [Wanted.of(f) for f in self.sent]
        self.fetched = got = self.peer.retriever.fetch(wanted, folder, self.report.count)
        complete = len(got.files) == len(wanted) > 0
        seen = f"{len(got.files)} of {len(wanted)} by {got.how}" + (f"; {got.fault}" if got.fault else "")  # fmt: skip
        offered = got.offered or bool(got.files)
        self.add(Check(
            BACK, "Gives back what it took", f"{len(wanted)} objects", seen,
            passes(complete) if offered else "not possible",
            "" if complete else "allow this node to retrieve (C-GET or WADO-RS) and repeat the test", needed=True,
        ))  # fmt: skip
        return dict(got.files)

    def _judge_images(self, images: Sequence[ResultFile], copies: dict[str, Path]) -> None:
        self.report.stage("comparing the images")
        back = [f for f in images if f.sop_instance in copies]
        if not back:
            return
        self._compared(IMAGES, [_pair(f, copies[f.sop_instance]) for f in back])
        seen = self._eligibility([copies[f.sop_instance] for f in back])
        good = seen == ELIGIBLE
        self.add(Check(IMAGES, "Routed to this node, they would be processed", ELIGIBLE, seen, passes(good)))  # fmt: skip

    def _eligibility(self, files: Sequence[Path]) -> str:
        try:
            verdict = judge_files(files, self.config).verdict
        except InputRefused as error:
            return str(error)
        return ELIGIBLE if verdict.value == "yes" else "; ".join(verdict.reasons)

    def _judge_result(self, objects: Sequence[ResultFile], copies: dict[str, Path]) -> None:
        self.report.stage("comparing the result")
        back = [f for f in objects if f.sop_instance in copies]
        if back:
            self._compared(RESULT, [_pair(f, copies[f.sop_instance]) for f in back])

    def _prove(
        self,
        phantom: Phantom,
        images: Sequence[ResultFile],
        objects: Sequence[ResultFile],
        copies: dict[str, Path],
    ) -> None:
        """Compare what came back with the known truth."""
        self.report.stage("comparing geometry and values with the truth")
        labels = phantom.labels()
        back = [copies[f.sop_instance] for f in images if f.sop_instance in copies]
        if back:
            self.add(self._image_check(back, labels))
        held = {
            base_name(f.name): dcmread(copies[f.sop_instance])
            for f in objects
            if f.sop_instance in copies
        }
        if "seg.dcm" in held:
            for check in proofs.segment_checks(held["seg.dcm"], labels):
                self.add(check)
        self.add(proofs.level_check(level_off_mm(self.result, phantom.truth)))
        if "measurements.dcm" in held:
            reported = proofs.reported_values(held["measurements.dcm"])
            for check in proofs.value_checks(compare_values(self.result, phantom.truth), reported):
                self.add(check)
        if "summary.dcm" in held:
            self.picture = _pixels(held["summary.dcm"])

    def _image_check(self, files: Sequence[Path], labels: Volume) -> Check:
        what = "Images: one regular volume"
        try:
            grid = judge_files(files, self.config).grid
            if not isinstance(grid, GeometryProblem):
                return proofs.image_check(read_source(grid).volume, labels)
            fault = grid.text
        except InputRefused as error:
            fault = str(error)
        return Check(proofs.GEOMETRY, what, "a volume", fault, "failed")

    def _validate(self, objects: Sequence[ResultFile], copies: dict[str, Path]) -> None:
        named = {f.name: copies[f.sop_instance] for f in objects if f.sop_instance in copies}
        if not named:
            return
        self.report.stage("running every validator that is installed")
        for check in validator_checks(named, self.result_folder, self.work / "judged"):
            self.add(check)

    def _compared(self, group: str, pairs: Sequence[returned.Pair]) -> None:
        for make in (
            returned.content_check,
            returned.elements_check,
            returned.coerced_check,
            returned.private_check,
            returned.syntax_check,
        ):
            self.add(make(group, pairs))

    def _judge_identity(self, copies: dict[str, Path]) -> None:
        if copies:
            headers = [dcmread(p, stop_before_pixels=True) for p in copies.values()]
            self.add(returned.identity_check(RESULT, headers))

    def add(self, check: Check) -> None:
        """Keep and report one check."""
        self.checks.append(check)
        self.report.check(check)


def _pair(file: ResultFile, copy: Path) -> returned.Pair:
    return returned.pair(file.name, dcmread((file.plain or file).path), dcmread(copy))


def _pixels(summary: Dataset) -> Any:
    """RGB pixels of the page, None where they cannot be read."""
    try:
        return summary.pixel_array
    except Exception:  # noqa: BLE001 - the check of pixels reports it
        return None
