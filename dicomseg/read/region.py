"""Read whether the lumbar spine is shown: from Body Part Examined, then from names of the protocol."""

from __future__ import annotations

import re
from typing import Final, Literal

from dicomseg.read.instance import Instance

_WORDS: Final = (
    "LSPINE", "LUMB", "LOMB", "LWS", "LWK", "TLSPINE", "LSSPINE", "SACR", "LENDEN", "LÄNDRYGG", "LANDRYGG",
    "LÆND", "LĘDŹW", "LEDZW", "BEDERN", "LANNERANKA", "ÁGYÉKI", "ΟΣΦΥ", "ПОЯСНИЧ", "ЛЮМБ", "ПОПЕРЕК",
    "腰椎", "腰骶", "腰仙", "腰部", "요추", "요천추", "מותני", "قطني", "เอว",
)  # fmt: skip
"""Lumbar, by the beginnings of the words of many languages; LWS and LWK are German and Dutch."""

_LUMBAR: Final = re.compile(
    "|".join(_WORDS) + r"|(?<![A-Z])L[ ./_-]?S?[ ./_-]?SPINE|(?<![A-Z])LSP(?![A-Z])"
)

_ELSEWHERE: Final = re.compile(
    r"BRAIN|HEAD|SKULL|NECK|NCK|\bC.?SPINE|CERVI|CHEST|HEART|BREAST|SHOULDER|ARM|ELBOW|WRIST|HAND|HIP|KNEE|LEG|ANKLE|FOOT|"
    r"ORBIT|JAW|LIVER|PROSTATE"
)
"""Other regions, as Body Part Examined names them."""

_ELSEWHERE_IN_WORDS: Final = re.compile(
    _ELSEWHERE.pattern
    + r"|HWS|HWK|BWS|BWK|[CT]-SPINE|TSPINE|THORA|DORSAL|CERVI|颈椎|頸椎|胸椎|ШЕЙН|ГРУДН"
)
"""The same in names of protocols."""

_NOT: Final = re.compile(r"(?<![A-Z])(NO|NOT|NON|KEINE?|OHNE|SANS)[ _-]+$")
"""Negations in front of a word."""


def read_region(instance: Instance) -> tuple[Literal["yes", "no", "unknown"], str]:
    """Return whether the header names the lumbar spine, and in which attribute.

    Body Part Examined is often that of the last patient or the coil (HEAD, NECK, LEG): a protocol or
    description that names the lumbar spine outweighs it, so far that the image itself decides.
    """
    part = instance.body_part
    words = _named(instance)
    if _is_lumbar(part):
        return "yes", f"body part {part}"
    if _ELSEWHERE.search(part.upper()):
        if words:
            return "unknown", f"body part {part}, but {words} names the lumbar spine"
        return "no", f"body part {part}"
    stated = f"body part {part} is not specific" if part else "Body Part Examined is absent"
    return ("yes", f"{stated}, {words} names the lumbar spine") if words else ("unknown", stated)


def _named(instance: Instance) -> str:
    """The first name that says lumbar, with its attribute; "" where none does.

    A study is often of several regions: its description counts where the series' own names tell none.
    """
    names = [("protocol", instance.protocol_name), ("description", instance.series_description)]
    if not any(_ELSEWHERE_IN_WORDS.search(text.upper()) for _, text in names):
        names.append(("study description", instance.study_description))
    return next((f"{what} {text!r}" for what, text in names if _is_lumbar(text)), "")


def _is_lumbar(text: str) -> bool:
    upper = text.upper()
    return any(not _NOT.search(upper[: found.start()]) for found in _LUMBAR.finditer(upper))
