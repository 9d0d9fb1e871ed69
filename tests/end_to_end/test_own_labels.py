"""From a stranger's .mha images and .seg.nrrd labels to a model in service, by the commands of the tutorial alone."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK

from node.demo import servers
from node.free_ports import free_ports
from tests.support.labelled_volumes import as_slicer
from training.data.prepare import to_sitk_image
from training.phantom.phantom import build_raster, draw_anatomy, image_anatomy

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "howto" / "own-labels.md"
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
NAMES = {
    1: "L4", 2: "disc L4-L5", 3: "L5", 4: "dural sac", 5: "L4 nerve root left", 6: "artery",
    7: "psoas left", 8: "IVC", 15: "L4 nerve root right", 17: "psoas right",
}  # fmt: skip
FILES = {"[labels]": "labels.toml", "steps = ": "recipe.toml", "[node]": "config.toml"}
"""Which file a block of TOML is, by how it begins."""
SEEDS = (9101, 9102, 9103)
LIMIT_S = 600.0


def write_person(folder: Path, seed: int) -> None:
    """A person's image and labels as 3D Slicer saves them; each side of roots and psoas is a segment."""
    anatomy = draw_anatomy(seed, "axial")
    raster = build_raster("axial", anatomy.patient_pose.to_lps(np.zeros(3)), slices=64, matrix=160)
    drawn = image_anatomy(anatomy, raster)
    labels = drawn.labels.astype(np.int16)
    index = np.argwhere(labels > 0)
    lps = index @ raster.affine[:3, :3].T + raster.affine[:3, 3]
    values = labels[tuple(index.T)]
    middle = lps[values == 2, 0].mean()
    right = lps[:, 0] < middle
    for paired in (5, 7):
        labels[tuple(index[(values == paired) & right].T)] = paired + 10
    image = to_sitk_image(drawn.image.astype(np.float32), raster.affine)
    for kind in ("images", "labels"):
        (folder / kind).mkdir(exist_ok=True)
    SimpleITK.WriteImage(image, str(folder / "images" / f"person{seed}.mha"))
    segments = as_slicer(to_sitk_image(labels, raster.affine), NAMES)
    SimpleITK.WriteImage(segments, str(folder / "labels" / f"person{seed}.seg.nrrd"), True)


def held_out_ids(cases: Path) -> tuple[str, str]:
    """Return the ids of two imported cases."""
    first, second, *_ = sorted(p.stem for p in cases.rglob("*.npz"))
    return first, second


def run(folder: Path, line: str) -> str:
    """Run a command line of the tutorial in the folder; returns what it printed."""
    if "CASE-A" in line:
        for place, case in zip(("CASE-A", "CASE-B"), held_out_ids(folder / "cases"), strict=True):
            line = line.replace(place, case)
    program, *rest = shlex.split(line)
    environment = {**os.environ, "OMP_NUM_THREADS": "2"}
    done = subprocess.run(
        [servers.command(program), *rest], cwd=folder, env=environment, capture_output=True, text=True,
        timeout=LIMIT_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, (line, done.stdout[-3000:], done.stderr[-3000:])
    return done.stdout


def serves(folder: Path, line: str, wanted: str) -> str:
    """Start the node by its line of the tutorial; returns its status once it names the wanted version."""
    program, *rest = shlex.split(line)
    log = (folder / "serve.log").open("wb")
    node = subprocess.Popen([servers.command(program), *rest], cwd=folder, stdout=log, stderr=log)
    try:
        status, deadline = "", time.monotonic() + 120
        while time.monotonic() < deadline:
            assert node.poll() is None, (folder / "serve.log").read_text()[-3000:]
            asked = subprocess.run(
                [servers.command("lumbar-node"), "status"], cwd=folder, capture_output=True, text=True,
                timeout=60, check=False,
            )  # fmt: skip
            status = asked.stdout
            if wanted in status and re.search(r"^ready\s+yes", status, re.MULTILINE):
                return status
            time.sleep(0.5)
        raise AssertionError((status, (folder / "serve.log").read_text()[-3000:]))
    finally:
        node.terminate()
        node.wait(60)
        log.close()


def test_the_tutorial_leads_from_files_to_a_fine_tuned_model_in_service(tmp_path: Path) -> None:
    for seed in SEEDS:
        write_person(tmp_path, seed)
    (port,) = free_ports(1)
    printed: dict[str, str] = {}
    for language, block in BLOCK.findall(DOCUMENT.read_text(encoding="utf-8")):
        if language == "toml":
            name = next(file for begin, file in FILES.items() if block.startswith(begin))
            (tmp_path / name).write_text(block.replace("11112", str(port)), encoding="utf-8")
            continue
        for line in block.splitlines():
            if line == "lumbar-node serve":
                card = json.loads((tmp_path / "retraining/candidate/card.json").read_text())
                printed[line] = serves(tmp_path, line, card["version"])
            else:
                printed[line] = run(tmp_path, line)
    assert "lumbar-node serve" in printed
    answer = json.loads((tmp_path / "retraining" / "comparison.json").read_text())
    assert answer["verdict"] == "proposed"
    assert len(answer["cases"]) == 2
    assert [row["measurement"] for row in answer["measurements"]] == ["OC", "DAA", "DIVC", "PI"]
    assert any(row["pairs"] == 2 for row in answer["measurements"])
    # Honest scores: the shipped model finds these persons, and the candidate is another model than it.
    assert min(row["in_service"] for row in answer["table"]) > 0.3
    assert answer["candidate"]["digest"] != answer["in_service"]["digest"]
    assert (tmp_path / "report" / "report.html").exists()
