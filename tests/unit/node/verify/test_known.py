"""Known findings are known by tool, text and class; nothing else passes as known."""

from __future__ import annotations

import pytest

from dicomseg.implementation import LABEL_MAP_STORAGE
from node.verify.known import KNOWN, graded
from node.verify.report import Finding

SEG = "1.2.840.10008.5.1.4.1.1.66.4"
TERM = "Unrecognized defined term <{}> for value 1 of attribute <Coding Scheme Designator>"


@pytest.mark.parametrize(
    ("tool", "sop_class", "text", "severity"),
    [
        ("dciodvfy", SEG, TERM.format("99LUMBAR"), "known"),
        ("dciodvfy", SEG, TERM.format("99RIS"), "known"),
        ("dciodvfy", SEG, TERM.format("RIS"), "warning"),
        ("DCMTK", SEG, "The VR checker does not support this Specific Character Set: \\ISO 2022 IR 87", "known"),
        ("DCMTK", SEG, "Reading unknown/unsupported SpecificCharacterSet (\\ISO 2022 IR 87)", "known"),
        ("DCMTK", SEG, "Reading unknown/unsupported SpecificCharacterSet (ISO_IR 999)", "warning"),
        ("DCMTK", SEG, TERM.format("99LUMBAR"), "warning"),
        ("dciodvfy", SEG, TERM.format("99LUMBAR") + " and more", "warning"),
        ("dciodvfy", SEG, "Attribute is not present in standard DICOM IOD - (0x0018,0x1002) UI Device UID", "known"),
        ("dciodvfy", SEG, "Attribute is not present in standard DICOM IOD - (0x0018,0x0015) CS Body Part Examined", "warning"),
        ("dciodvfy", LABEL_MAP_STORAGE, "Information Object Not found", "known"),
        ("dciodvfy", SEG, "Information Object Not found", "warning"),
    ],
)  # fmt: skip
def test_a_finding_is_known_by_tool_text_and_class(
    tool: str, sop_class: str, text: str, severity: str
) -> None:
    found = graded(tool, sop_class, Finding("warning", text, 3))
    assert (found.severity, found.text, found.count) == (severity, text, 3)
    assert bool(found.reason) == (severity == "known")


def test_every_known_finding_has_a_short_reason() -> None:
    assert all(0 < len(known.reason) <= 60 for known in KNOWN)
