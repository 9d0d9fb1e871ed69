"""What is fetched of a study, by what the source says of it: pure decisions. What it does not say never excludes."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from datetime import date, timedelta
from pathlib import Path
from typing import Final

from dicomseg.read.instance import Instance
from dicomseg.read.judge import judge
from dicomseg.read.rules import Rule
from node.config.pull import PullRuleConfig
from node.pull.port import FoundInstance, FoundSeries, FoundStudy, Wanted

MR: Final = "MR"
_MR_IMAGE: Final = "1.2.840.10008.5.1.4.1.1.4"
MOST_DAYS: Final = 30
"""Days that a rule looks back at most, after a node was off."""
_UID: Final = re.compile(r"[0-9]+(\.[0-9]+)*", re.ASCII)


def is_uid(text: str) -> bool:
    """Return whether a text may be sent as a UID (PS3.5 section 9.1); digits and single dots alone."""
    return len(text) <= 64 and _UID.fullmatch(text) is not None


def may_hold_mr(study: FoundStudy) -> bool:
    """Return whether a study may hold MR images: unless it names its modalities and MR is none of them."""
    return not study.modalities or MR in study.modalities


def why_left(
    found: FoundSeries, rules: Sequence[Rule], rule: PullRuleConfig | None, own: Collection[str]
) -> str:
    """Return why a series is not fetched, "" when it may be eligible.

    rules: the selection rules, of which one must be able to accept it. rule: which asked, if one did.
    own: Series Instance UIDs of the node's results.
    """
    if found.series in own:
        return "a result of this node"
    if found.modality and found.modality != MR:
        return f"modality {found.modality[:16]}"
    if rule is not None and (reason := _outside(found, rule)):
        return reason
    verdict = judge([_as_instance(found)], None, rules)
    return "; ".join(verdict.reasons) if verdict.value == "no" else ""


def _outside(found: FoundSeries, rule: PullRuleConfig) -> str:
    """Why a series is not one that the rule asks for: by body part and description, where the source says them."""
    part = found.body_part.upper()
    if rule.body_parts and part and not part.startswith(tuple(b.upper() for b in rule.body_parts)):
        return f'body part not in body_parts of rule "{rule.name}"'
    text = f"{found.description} {found.protocol}".strip().upper()
    if rule.descriptions and text and not any(d.upper() in text for d in rule.descriptions):
        return f'description not in descriptions of rule "{rule.name}"'
    return ""


def _as_instance(found: FoundSeries) -> Instance:
    """Return a header that holds what the source says, and of the rest what excludes nothing."""
    return Instance(
        Path(), _MR_IMAGE, "", "", found.series, "", "", "",
        modality=MR, series_description=found.description, protocol_name=found.protocol,
        body_part=found.body_part, rows=1, columns=1, has_pixels=True,
    )  # fmt: skip


def wanted_of(
    study: str, series: str, instances: Sequence[FoundInstance], known: Collection[str]
) -> Wanted | None:
    """Return what is fetched of a series: what is not known; None when everything is."""
    missing = tuple(i for i in instances if i.sop_instance not in known)
    if not missing:
        return None
    return Wanted(study, series, missing, complete=len(missing) == len(instances))


# ---- rules ---------------------------------------------------------------------------------------


def day_due(rule: PullRuleConfig, today: date, hour: int, minute: int) -> date:
    """Return the day of the newest run that is due: today from its time on, else yesterday. All local."""
    at_hour, _, at_minute = rule.at.partition(":")
    past = (hour, minute) >= (int(at_hour), int(at_minute))
    return today if past else today - timedelta(days=1)


def dates_asked(rule: PullRuleConfig, due: date, ran: date) -> tuple[date, date]:
    """Return the first and last study date of a run: the days before it, and those since the last run.

    ran: day of the last complete run, which asked for the days before it.
    """
    first = min(due - timedelta(days=rule.days), ran)
    return max(first, due - timedelta(days=MOST_DAYS)), due - timedelta(days=1)
