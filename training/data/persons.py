"""Which prepared cases are of one person: the same patient id, or another one and yet the same image, labels or id."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path
from typing import Any, Final

from training.data.cases import CARD_PICTURE, read_patient
from training.data.likeness import alike

PATIENT_KEY: Final = "patient_key"
"""Key of an imported case's card: `id`, the keyed digest of the patient id without its issuer, whether there was an
`issuer`, and whether a table `named` the person."""


@dataclass(frozen=True, slots=True)
class Link:
    """Two cases of different patient ids that are of one person, or look so (`open`) where a table names two."""

    first: str
    second: str
    why: str
    open: bool = False

    @property
    def text(self) -> str:
        """As one line for people."""
        if self.open:
            return (
                f"{self.first} and {self.second} look like one person ({self.why}); the table of patients names two:"
                " correct it if it is wrong"
            )
        return f"{self.first} and {self.second} are of one person ({self.why}): held out together"


@dataclass(frozen=True, slots=True)
class Persons:
    """The person of each case, by path; links are what patient ids alone do not say."""

    by_path: Mapping[Path, str]
    links: tuple[Link, ...]


def read_persons(paths: Sequence[Path]) -> Persons:
    """Read from the cards of cases which of them are of one person. A person is named by the first of its patient ids.

    Phantoms are not compared: their ids are their seeds. Nor are cases prepared before cards held a picture. Where a table
    names both persons, it counts, and what contradicts it is an open link.

    Raises:
        CaseUnreadable: a case without a readable card or a patient.
    """
    patients = {path: read_patient(path) for path in paths}
    cards = {path: _card(path) for path in paths if not path.stem.startswith("phantom")}
    pictures = {str(p): c[CARD_PICTURE] for p, c in cards.items() if c.get(CARD_PICTURE)}
    found = [(Path(a), Path(b), why) for a, b, why in alike(pictures)]
    found += [(a, b, "equal patient ids, one without its issuer") for a, b in _equal_ids(cards)]
    other = [(a, b, why) for a, b, why in found if patients[a] != patients[b]]
    named = {path for path, card in cards.items() if _key(card).get("named")}
    first = {patient: patient for patient in patients.values()}
    for a, b, _ in (pair for pair in other if not named.issuperset(pair[:2])):
        one, two = sorted((_root(first, patients[a]), _root(first, patients[b])))
        first[two] = one
    links = {
        tuple(sorted((a.stem, b.stem))): (why, named.issuperset((a, b))) for a, b, why in other
    }
    return Persons(
        {path: _root(first, patient) for path, patient in patients.items()},
        tuple(Link(a, b, *found) for (a, b), found in sorted(links.items())),
    )


def _root(first: Mapping[str, str], patient: str) -> str:
    while first[patient] != patient:
        patient = first[patient]
    return patient


def _card(path: Path) -> Mapping[str, Any]:
    """Return a card that `read_patient` could read."""
    card: dict[str, Any] = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    return card


def _key(card: Mapping[str, Any]) -> Mapping[str, Any]:
    key = dict(card.get("card") or {}).get(PATIENT_KEY)
    return key if isinstance(key, dict) else {}


def _equal_ids(cards: Mapping[Path, Mapping[str, Any]]) -> list[tuple[Path, Path]]:
    """Return pairs of one patient id of which one names no issuer: an absent one contradicts none."""
    keys: dict[str, list[tuple[Path, bool]]] = defaultdict(list)
    for path, card in cards.items():
        key = _key(card)
        if key.get("id"):
            keys[str(key["id"])].append((path, bool(key.get("issuer"))))
    return [
        (a, b)
        for same in keys.values()
        for (a, a_issued), (b, b_issued) in combinations(same, 2)
        if not (a_issued and b_issued)
    ]
