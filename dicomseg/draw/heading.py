"""`Heading`: who and what a page is about."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Heading:
    """Who and what the page is about: texts as they are printed, "" where not known.

    names: spellings of the patient's name, of which the first is printed that the font can show.
    """

    names: tuple[str, ...]
    patient_id: str
    born: str
    study_date: str
    description: str
    model: str
    created: str
