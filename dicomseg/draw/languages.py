"""The languages of the page, by the code that chooses one."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from dicomseg.draw import followup_german, followup_texts
from dicomseg.draw.english import ENGLISH
from dicomseg.draw.followup_texts import FollowUpTexts
from dicomseg.draw.german import GERMAN
from dicomseg.draw.texts import Texts

LANGUAGES: Final[Mapping[str, Texts]] = MappingProxyType(
    {texts.language: texts for texts in (ENGLISH, GERMAN)}
)

FOLLOWUP_TEXTS: Final[Mapping[str, FollowUpTexts]] = MappingProxyType(
    {"en": followup_texts.ENGLISH, "de": followup_german.GERMAN}
)
"""Of the page of a follow-up, by the same codes."""
