"""Cases given as files: what is right after `lumbar-node process`."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pydicom
from bench import CASES, Bench, Ran

from node.config.profiles import PROFILES
from node.deliver.forms import prepare, sent_names

Judge = Callable[[Ran], str]

FALSE_ERRORS = (
    "Information Object Not found",
    "SegmentNumber not monotonically increasing",
    "Leading zeroes in embedded numeric component",
    "Dicom dataset contains invalid data values",  # the sum of other findings, which stand by themselves
)
"""Findings of dciodvfy about classes that are newer than the tool, and about UIDs of the source, which stay as they came."""
_TRUTH_MM = {"OC": 0.0, "DAA": 16.6, "DIVC": 16.4, "PI": 1.6}
"""True values of the phantom that the cases change (its truth.json, rounded)."""


def valid(ran: Ran) -> str:
    """A result whose objects dciodvfy finds no error in."""
    for name in ran.objects:
        if shutil.which("dciodvfy") is None:
            break
        done = subprocess.run(
            ["dciodvfy", str(ran.folder / name)],
            capture_output=True, text=True, errors="replace", check=False,
        )  # fmt: skip
        lines = (done.stdout + done.stderr).splitlines()
        bad = [x for x in lines if x.startswith("Error") and not any(f in x for f in FALSE_ERRORS)]
        if bad:
            return f"{name}: {bad[0]}"
    return ""


def near_truth(ran: Ran) -> str:
    """A valid result whose values lie within 3 mm of the truth."""
    for name, true in _TRUTH_MM.items():
        value = ran.result["measurements"][name]["value_mm"]
        if value is None or abs(value - true) > 3.0:
            return f"{name} {value}, true {true}"
    return valid(ran)


def same_name(source: Path) -> Judge:
    """A valid result with the source's patient name in every object, and no lossy text of ours."""

    def judge(ran: Ran) -> str:
        first = pydicom.dcmread(
            next(p for p in sorted(source.rglob("*.dcm"))), stop_before_pixels=True
        )
        for name, ds in ran.objects.items():
            if str(ds.PatientName) != str(first.PatientName):
                return f"{name}: Patient Name {ds.PatientName!s} for {first.PatientName!s}"
            if re.search(r"\d \?\d|\?\d|mm\?", _texts(ds)):
                return f"{name}: text of ours lost its signs"
        return valid(ran)

    return judge


def _texts(ds: pydicom.Dataset) -> str:
    return "\n".join(
        str(e.value) for e in ds.iterall() if e.keyword in {"TextValue", "CodeMeaning"}
    )


def finding(*words: str) -> Judge:
    """A valid result with a warning whose code or text holds one of the words."""

    def judge(ran: Ran) -> str:
        said = json.dumps([ran.result["warnings"], ran.result["level"]["warnings"]]).lower()
        return (
            valid(ran) if any(w in said for w in words) else f"no warning of {words}: {said[:200]}"
        )

    return judge


def refused(*words: str) -> Judge:
    """No result, exit code 3 or 4, and a reason with one of the words; never an internal error."""

    def judge(ran: Ran) -> str:
        if ran.written or ran.code not in {3, 4}:
            return f"exit {ran.code}, {len(ran.written)} results: {ran.texts[:160]}"
        said = ran.texts.lower()
        return "" if any(w in said for w in words) and "internal error" not in said else said[:200]

    return judge


def either(*judges: Judge) -> Judge:
    """One of several outcomes is right."""

    def judge(ran: Ran) -> str:
        reasons = []
        for one in judges:
            try:
                reason = one(ran)
            except AssertionError as error:
                reason = str(error)
            if not reason:
                return ""
            reasons.append(reason)
        return " / ".join(reasons)

    return judge


def case(
    judge: Judge, *, options: tuple[str, ...] = (), env: dict[str, str] | None = None
) -> Callable[[Bench], str]:
    """Make the case, process it, judge."""
    return lambda bench: judge(bench.process(bench.make(**env or {}), options=options))


def named(bench: Bench) -> str:
    """Patient names as in the source."""
    made = bench.make()
    return same_name(made)(bench.process(made))


def variants(key: str, *values: str) -> Callable[[Bench], str]:
    """One case with several values of an environment variable."""

    def check(bench: Bench) -> str:
        wrong = []
        for value in values:
            try:
                reason = valid(bench.process(bench.make(**{key: value})))
            except AssertionError as error:
                reason = str(error)
            wrong += [f"{value}: {reason}"] if reason else []
        return "; ".join(wrong)

    return check


def one_contrast(ran: Ran) -> str:
    """One result, of water or in phase."""
    name = ran.result["source"]["description"]
    return valid(ran) if re.search(r"WATER|IN_PHASE", name) else f"chosen: {name}"


def good_beside_bad(bench: Bench) -> str:
    """The good series has its result whatever becomes of the other."""
    ran = bench.process(bench.make())
    if len(ran.rows) != 2 or not ran.written or ran.code not in {0, 4}:
        return f"exit {ran.code}: {ran.texts[:200]}"
    return ""


def one_space(ran: Ran) -> str:
    """All objects lie in one frame of reference, which is a UID; or refused."""
    spaces = {
        str(ds.get("FrameOfReferenceUID", ""))
        for n, ds in ran.objects.items()
        if n in {"seg.dcm", "midplane.dcm"}
    }
    return (
        valid(ran)
        if len(spaces) == 1 and re.fullmatch(r"[0-9.]+", spaces.pop())
        else f"spaces {spaces}"
    )


def sure_level(ran: Ran) -> str:
    """The level is as sure as without padding (0.81)."""
    confidence = ran.result["level"]["confidence"]
    return valid(ran) if confidence >= 0.7 else f"confidence {confidence}"


def no_geometry_fault(ran: Ran) -> str:
    """The series is a regular grid, whatever the picture in it shows."""
    bad = [r for r in ran.rows if r["outcome"] in {"incomplete", "refused", "failed"}]
    return ran.texts if bad or ran.code not in {0, 3} else ""


def one_identity(ran: Ran) -> str:
    """Patient and study attributes are the same in all objects, or in none."""
    keywords = (
        "PatientName", "PatientID", "IssuerOfPatientID", "IssuerOfPatientIDQualifiersSequence",
        "OtherPatientIDsSequence", "PatientComments", "AdmissionID", "TimezoneOffsetFromUTC", "AccessionNumber",
        "StudyID", "StudyDate", "ReferringPhysicianName", "ProcedureCodeSequence",
    )  # fmt: skip
    odd = [k for k in keywords if len({str(ds.get(k, None)) for ds in ran.objects.values()}) > 1]
    if odd:
        return f"differ: {odd}"
    lost = [
        k
        for k in ("IssuerOfPatientIDQualifiersSequence", "TimezoneOffsetFromUTC")
        if k not in ran.objects["seg.dcm"]
    ]
    return f"lost: {lost}" if lost else valid(ran)


def whole_bytes(ran: Ran) -> str:
    """Frames of the segmentation begin at byte boundaries."""
    seg = ran.objects["seg.dcm"]
    bits = seg.Rows * seg.Columns * seg.BitsAllocated
    return valid(ran) if bits % 8 == 0 else f"{seg.Rows} × {seg.Columns} at {seg.BitsAllocated} bit"


def few_frames(ran: Ran) -> str:
    """The segmentation for Weasis has a frame per slice, whatever the number of structures."""
    names = sent_names(ran.folder, PROFILES["weasis"])
    with tempfile.TemporaryDirectory() as outgoing:
        seg = pydicom.dcmread(prepare(ran.folder, names, Path(outgoing))[0].path)
    slices = ran.result["source"]["shape"][0]
    frames = int(seg.NumberOfFrames)
    return valid(ran) if 0 < frames <= min(slices, 400) else f"{frames} frames of {slices} slices"


def no_thickness(bench: Bench) -> str:
    """A series without Slice Thickness and with an empty Study ID gives valid objects."""
    made = bench.folder / "made"
    made.mkdir(exist_ok=True)
    for file in sorted(bench.phantom.glob("*.dcm")):
        ds = pydicom.dcmread(file)
        del ds.SliceThickness
        ds.StudyID, ds.StudyDate = "", "2024-01-02"
        ds.save_as(made / file.name)
    return valid(bench.process(made))


def enhanced_source(bench: Bench) -> str:
    """An enhanced object gives a result, and the segmentation names its frames."""
    ran = bench.process(bench.make(), options=("--any-sequence",))
    seg = ran.objects["seg.dcm"]
    frame = seg.PerFrameFunctionalGroupsSequence[0].DerivationImageSequence[0]
    item = frame.SourceImageSequence[0]
    return valid(ran) if np.atleast_1d(item.ReferencedFrameNumber).size else "no frame number"


def cd_export(bench: Bench) -> str:
    """A patient's CD, and its ZIP archive."""
    out = bench.make()
    ran = bench.process(next(p for p in out.iterdir() if p.is_dir()))
    if not ran.written:
        return f"exit {ran.code}: {ran.texts}"
    if "DICOMDIR" in ran.error and "UID" in ran.error:
        return f"advice about DICOMDIR: {ran.error[:160]}"
    zipped = bench.process(out / "cd.zip")
    return "" if "ZIP" in zipped.error or zipped.written else f"zip: {zipped.error[:160]}"


_UNKNOWN = refused("select.rule", "is_original", "config", "--any-sequence")
_SET_ASIDE = finding("set_aside", "set aside")

CHECKS: dict[str, Callable[[Bench], str]] = {
    "weasis-400-frames": case(few_frames),
    "birthdate-year-only": case(valid),
    "charset-empty": case(valid),
    "cli-one-bad-among-good": good_beside_bad,
    "count-too-low-zip2": case(near_truth),
    "dixon-four-contrasts": case(one_contrast),
    "enhanced-siemens-xa-groups": case(near_truth),
    "enhanced-two-geometries": case(either(near_truth, refused("frame", "geometr", "orientation"))),
    "frame-of-reference-missing": case(either(one_space, refused("frame of reference"))),
    "gbk-under-latin1": named,
    "ge-cube-derived": case(either(near_truth, _UNKNOWN)),
    "hitachi-isofse-signed12": case(near_truth),
    "japanese-iso2022": named,
    "jpeg-one-frame-two-fragments": case(near_truth),
    "localizer-in-series": case(_SET_ASIDE),
    "localizer-in-series-plain": case(_SET_ASIDE),
    "mirrored-pixels": case(
        either(finding("side", "mirror"), refused("orientation", "mirror", "side"))
    ),
    "monochrome1": case(near_truth),
    "no-instance-numbers": case(near_truth),
    "number-of-frames-1": case(near_truth),
    "one-series-two-patients": case(refused("patient")),
    "one-slice-twice-new-uid": case(_SET_ASIDE),
    "overlay-in-high-bits": case(near_truth),
    "padding-declared-rim": case(sure_level),
    "positions-rounded-0.1mm-oblique": case(no_geometry_fault),
    "registered-feet-first": case(
        either(
            refused("orientation", "registered", "not in"),
            finding("orientation", "registered", "turned"),
        )
    ),
    "registered-prone": case(refused("orientation", "registered", "not in", "field of view")),
    "sc-in-series": case(_SET_ASIDE),
    "siemens-composed": case(either(valid, _UNKNOWN)),
    "slope-per-slice": case(near_truth),
    "uids-leading-zero": case(near_truth),
    "utf8-code-strings": named,
    "charset-lossy-text": named,
    "charset-nonstandard": variants("CHARSET", "ISO_IR 6", "UTF-8", "iso_ir 100", "ISO-IR 100"),
    "enhanced-source": enhanced_source,
    "impossible-dates": variants("KIND", "birth", "date", "time"),
    "iso2022-empty-first": named,
    "issuer-qualifiers": case(one_identity),
    "no-frame-of-reference": case(either(one_space, refused("frame of reference"))),
    "seg-bits-not-bytes": case(whole_bytes),
    "stale-studyid": no_thickness,
    "charset-ir6-underscore": case(valid),
    "charset-not-supplied": case(valid),
    "cd-export": cd_export,
    "charset-latin1": named,
    "empty-study-id": case(valid),
    "private-nested-ipp": case(valid),
}

__all__ = ["CASES", "CHECKS"]
