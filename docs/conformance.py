"""Parts of docs/conformance.md: tables read from the acceptor, the destinations, the encoders and the configuration."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Final

import conformance_keys
import conformance_network as network
import conformance_objects as content
import conformance_reports as reports
from conformance_example import NOTE, VERIFIED
from pydicom.charset import python_encoding
from reference import table

from dicomseg.read.charset import character_set


def character_sets() -> str:
    """Render what becomes of text that is not ASCII, by the character set that the source declares."""
    groups: dict[str, list[str]] = {}
    for term in python_encoding:
        if term.startswith(("ISO_IR", "ISO 2022", "GB")):
            groups.setdefault(_declared(term), []).append(f"`{term}`")
    rows = [(", ".join(terms), declared) for declared, terms in groups.items()]
    return table(("source declares, as its only value", "results declare"), rows)


def _declared(term: str) -> str:
    """Return what a result declares of a source with this character set and a letter beyond ASCII."""
    terms = character_set([term], b"\xe4").terms
    if terms == (term,):
        return "the same; text stays in its bytes"
    if terms == ("", term):
        return "the same as second value, behind an empty first one; text stays in its bytes"
    return " and ".join(f"`{t}`" for t in terms if t) or "`ISO_IR 192`; text is converted"


PARTS: Final[Mapping[str, Callable[[], str]]] = {
    f"conformance-{name}": part
    for name, part in {
        "services": network.services,
        "content": content.overview,
        "character-sets": character_sets,
        "syntaxes": network.accepted_syntaxes,
        "contexts": network.context_results,
        "rejections": network.rejections,
        "limits": network.acceptor_limits,
        "identification": network.identification,
        "sent": network.sent_contexts,
        "received-statuses": network.received_statuses,
        "returned-statuses": network.returned_statuses,
        "commitment-statuses": network.commitment_statuses,
        "find-statuses": network.find_statuses,
        "web-statuses": network.web_statuses,
        "keys": conformance_keys.keys,
        "shared": content.shared_table,
        "seg": partial(content.iod_table, "seg.dcm"),
        "label-map": content.label_map_table,
        "midplane": partial(content.iod_table, "midplane.dcm"),
        "reports": partial(content.iod_table, *reports.REPORTS),
        "summary": partial(content.iod_table, "summary.dcm"),
        "pdf": partial(content.iod_table, "report.dcm"),
        "surface": partial(content.iod_table, "surface.dcm"),
        "followup": partial(content.iod_table, "followup.dcm"),
        "followup-page": partial(content.iod_table, "followup_page.dcm"),
        "followup-report": partial(content.iod_table, "followup_report.dcm"),
        "followup-content": partial(reports.content_table, "followup.dcm"),
        "note": partial(content.iod_table, NOTE),
        "verified": partial(content.differing, VERIFIED, "measurements.dcm"),
        "note-lacks": partial(content.lacking, NOTE),
        "measurements": partial(reports.content_table, "measurements.dcm"),
        "volumes": partial(reports.content_table, "volumes.dcm"),
        "segments": reports.segments_table,
        "values": reports.values_table,
        "grades": reports.grades_table,
        "zones": reports.zones_table,
        "vessels": reports.vessels_table,
        "further": reports.further_table,
        "reasons": reports.reasons_table,
        "codes": reports.codes_table,
        "classes": network.accepted_classes,
    }.items()
}
"""Name of a part of the document to what renders it."""
