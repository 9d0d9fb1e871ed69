"""Five kinds of study on which results are compared and validated: `make` writes each into a folder of its name."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Final

import pydicom
from pydicom.dataset import Dataset

ROOT: Final = Path(__file__).resolve().parents[2]
SHARED: Final = ROOT.parent / "shared"
KINDS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "phantom-axial": "phantom, axial slices",
        "phantom-sagittal": "phantom, sagittal slices",
        "spider-5": "SPIDER subject 5, a sagittal slab",
        "enhanced": "one Enhanced MR object",
        "japanese": "name in three spellings, ISO 2022 IR 87",
    }
)
"""Folder to what it holds."""


def make(inputs: Path) -> None:
    """Write the inputs; SPIDER and the Enhanced object need the data and tools beside the repository."""
    for view, seed in (("axial", 41), ("sagittal", 42)):
        base = inputs / "phantoms"
        python(ROOT, "-m", "training", "phantom", "--out", base, "--seed", seed, "--fov", view)
        (base / f"phantom-{seed:06d}" / "t2_space").rename(inputs / f"phantom-{view}")
    spider = SHARED / "data" / "spider" / "5.image.nii.gz"
    python(ROOT, SHARED / "tools" / "spider_to_dicom.py", spider, inputs / "spider-5")
    _enhanced(inputs)
    _japanese(inputs)


def _enhanced(inputs: Path) -> None:
    """The axial phantom as one object."""
    sys.path.insert(0, str(SHARED / "cases" / "in"))
    from lib import enhanced, load

    made = enhanced(load(inputs / "phantom-axial"))
    made.SeriesInstanceUID, made.SOPInstanceUID = "2.25.2301", "2.25.2302"
    made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
    (inputs / "enhanced").mkdir()
    made.save_as(inputs / "enhanced" / "1.dcm", enforce_file_format=True)


def _japanese(inputs: Path) -> None:
    """The axial phantom of another patient, with what a Japanese hospital's worklist writes."""
    (inputs / "japanese").mkdir()
    for number, path in enumerate(sorted((inputs / "phantom-axial").iterdir()), start=1):
        ds = pydicom.dcmread(path)
        ds.StudyInstanceUID, ds.SeriesInstanceUID = "2.25.2401", "2.25.2402"
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = f"2.25.2403{number:04d}"
        ds.FrameOfReferenceUID = "2.25.2404"
        write_worklist(ds)
        ds.save_as(inputs / "japanese" / path.name, enforce_file_format=True)


def write_worklist(ds: Dataset) -> None:
    """Write everything that identifies patient, study and request, in a character set with escapes."""
    issuer, other, request, code, local = (Dataset() for _ in range(5))
    issuer.UniversalEntityID, issuer.UniversalEntityIDType = "1.2.3.4", "ISO"
    other.PatientID, other.IssuerOfPatientID, other.TypeOfPatientID = "999", "INS", "TEXT"
    code.CodeValue, code.CodingSchemeDesignator, code.CodeMeaning = "MRLWS", "99RIS", "腰椎MRI"
    local.LocalNamespaceEntityID = "LOC"
    request.RequestedProcedureID, request.AccessionNumber = "RP1", "A1"
    request.RequestedProcedureDescription = "腰椎"
    request.RequestedProcedureCodeSequence = [code]
    ds.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
    ds.PatientName = "Yamada^Tarou=山田^太郎=やまだ^たろう"
    ds.ReferringPhysicianName, ds.StudyDescription = "Suzuki^=鈴木^", "腰椎"
    ds.InstitutionName, request.ReasonForTheRequestedProcedure = "東京病院", "腰痛"
    ds.PatientID, ds.IssuerOfPatientID, ds.AccessionNumber = "P-7", "HOSP", "A1"
    ds.IssuerOfPatientIDQualifiersSequence, ds.OtherPatientIDsSequence = [issuer], [other]
    ds.IssuerOfAccessionNumberSequence, ds.ProcedureCodeSequence = [local], [code]
    ds.RequestAttributesSequence, ds.TimezoneOffsetFromUTC = [request], "+0900"


def python(
    checkout: Path, *words: object, cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    """Run Python with the code of a checkout; what fails ends this program with its output."""
    environment = {**os.environ, "PYTHONPATH": str(checkout), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *(str(w) for w in words)]
    done = subprocess.run(
        command,
        cwd=cwd or checkout,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(command)}: exit {done.returncode}\n{done.stdout}{done.stderr}")
    return done
