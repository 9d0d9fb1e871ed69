"""One self-test: the synthetic study, the pipeline, the judgement, a line of the history."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from dicomseg.errors import InputRefused, LumbarError
from dicomseg.read.geometry_problem import GeometryProblem
from node.config.sections import Config
from node.durable import private_folder
from node.phantom.process import judge_files, load_serving_model, process_grid
from node.phantom.study import OPTIONS, Phantom, make_phantom
from node.program import program_version
from node.selftest.judge import against_first, measured
from node.store.layout import StateDirectory
from node.store.results import read_result
from node.store.selftest_history import SelftestRow, append_row, read_history, reference_of

Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Selftest:
    """A self-test of one node. options: of the phantom's generator. wall: seconds since 1970."""

    config: Config
    options: tuple[str, ...] = OPTIONS
    wall: Callable[[], float] = time.time

    @property
    def _folder(self) -> Path:
        return StateDirectory(self.config.node.state).selftest

    def run(self, progress: Progress, *, new_reference: bool = False) -> SelftestRow:
        """Run it and add its row to the history; a result that cannot be made is a row, too.

        new_reference: compare later runs with this one.
        """
        row = SelftestRow(self.wall(), "failed", "", "", "", "", program_version(), "")
        try:
            row = self._run(row, progress, new_reference=new_reference)
        except LumbarError as error:
            row = replace(row, reason=str(error))
        append_row(self.config.node.state, row)
        return row

    def _run(self, row: SelftestRow, progress: Progress, *, new_reference: bool) -> SelftestRow:
        progress("reading the synthetic study")
        phantom = self._phantom(progress)
        progress("loading the model")
        model = load_serving_model(self.config)
        info = model.info
        row = replace(
            row, bundle=f"{info.name} {info.version}", digest=info.digest,
            engine=f"{info.engine} {info.precision}", study=phantom.digest(),
        )  # fmt: skip
        candidate = judge_files(phantom.files, self.config)
        if isinstance(candidate.grid, GeometryProblem):
            raise InputRefused(f"the synthetic study: {candidate.grid.text}")
        work = self._folder / "work"
        shutil.rmtree(work, ignore_errors=True)
        private_folder(work)
        try:
            done = process_grid(candidate.grid, model, self.config, work, progress)
            result = read_result(done.folder)
        finally:
            shutil.rmtree(work, ignore_errors=True)
        row = replace(measured(row, result, phantom.truth), cpu_s=round(done.cpu_s, 2))
        if new_reference:
            return against_first(row, None)
        return against_first(row, reference_of(read_history(self.config.node.state), row))

    def _phantom(self, progress: Progress) -> Phantom:
        root = self._folder / "study"
        if not root.exists():
            progress("making the synthetic study")
            private_folder(root)
        return make_phantom(root, self.options)
