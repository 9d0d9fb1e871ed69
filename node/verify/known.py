"""Findings of validators that are known and harmless, each with its reason; they are counted, never hidden."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from dicomseg.implementation import LABEL_MAP_STORAGE
from node.verify.report import Finding


@dataclass(frozen=True, slots=True)
class Known:
    """A finding of one tool that says nothing against an object."""

    tool: str
    pattern: str
    """Regular expression that the complete text matches."""
    reason: str
    classes: tuple[str, ...] = ()
    """SOP classes that it is harmless for; all where empty."""


KNOWN: Final = (
    Known(
        "dciodvfy",
        r"Unrecognized defined term <99(LUMBAR|CS3D)> for value 1 of attribute <Coding Scheme Designator>",
        "private coding schemes, ours and the viewer's",
    ),
    Known(
        "dciodvfy",
        r"Unrecognized defined term <99\w+> for value 1 of attribute <Coding Scheme Designator>",
        "private coding schemes of a hospital, as in the source",
    ),
    Known(
        "DCMTK",
        r"(The VR checker does not support this|Reading unknown/unsupported) ?Specific ?Character ?Set.*ISO 2022.*",
        "character sets with escapes are not supported",
    ),
    Known(
        "dciodvfy",
        r"Unrecognized defined term <2\.25\.[0-9]+> for value 1 of attribute <Coding Scheme UID>",
        "UID of our private coding scheme",
    ),
    Known(
        "dciodvfy",
        r"Attribute is not present in standard DICOM IOD - \(0x0018,0x1002\) UI Device UID",
        "Device UID of the algorithm, wanted by IHE AI Results",
    ),
    Known(
        "dciodvfy",
        r"Missing attribute or value that would be needed to build DICOMDIR - Study ID",
        "the source has no Study ID, which media alone need",
    ),
    Known(
        "dciodvfy",
        r"Dicom dataset contains attributes not present in standard DICOM IOD - .*",
        "follows from the Device UID",
    ),
    Known(
        "dciodvfy",
        r"Information Object Not found",
        "older than the class of label maps",
        (LABEL_MAP_STORAGE,),
    ),
    Known(
        "dciodvfy",
        rf"Unrecognized SOP Class - {re.escape(LABEL_MAP_STORAGE)} - so cannot determine .*",
        "older than the class of label maps",
    ),
    Known(
        "dciodvfy",
        r"Different information entities for attribute - .*<Unknown>.*",
        "older than the class of label maps",
    ),
    Known(
        "dciodvfy",
        r".*SegmentNumber not monotonically increasing.*SegmentNumber of 0.*",
        "segment 0 of a label map is its background",
        (LABEL_MAP_STORAGE,),
    ),
    Known(
        "dciodvfy",
        r"Different information entities for attribute - Element=<(IssuerOf)?AccessionNumber(Sequence)?> IE <(Series|Study)> versus "
        r"<(Series|Study)> for file .*",
        "requests are of an image's series, of a report's study",
    ),
    Known(
        "dcmqi",
        r'Found concept that is not known, and as such is qualitative: \(121106,DCM,"Comment"\)',
        "comments are listed as evaluations",
    ),
    Known(
        "dcmqi",
        r"Warning: For now, Measurement Method modifier is interpreted only at the MeasurementGroup level\.",
        "the method of a single value is not kept",
    ),
)
"""The one table of them."""


def graded(tool: str, sop_class: str, finding: Finding) -> Finding:
    """Return a finding as known where the table has it, else as it is."""
    for known in KNOWN:
        applies = known.tool == tool and (not known.classes or sop_class in known.classes)
        if applies and re.fullmatch(known.pattern, finding.text.strip()):
            return Finding("known", finding.text, finding.count, known.reason)
    return finding
