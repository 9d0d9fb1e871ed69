"""The objects of one result as data sets, and a way through what is nested in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from dicomseg.read import attributes

MEASUREMENT_GROUP: Final = "125007"
TRACKING_IDENTIFIER: Final = "112039"
COMMENT: Final = "121106"
"""Concepts of TID 1500, scheme DCM."""


@dataclass(frozen=True, slots=True, eq=False)
class ResultSet:
    """One result folder: its `result.json` and its objects by file name."""

    folder: Path
    result: Mapping[str, Any]
    objects: Mapping[str, Dataset]

    @property
    def reports(self) -> dict[str, Dataset]:
        """The structured reports."""
        return {n: ds for n, ds in self.objects.items() if attributes.text(ds, "Modality") == "SR"}

    def measurements(self) -> dict[str, Mapping[str, Any]]:
        """Return every value of `result.json` by name, the four before the others."""
        return {**self.result.get("measurements", {}), **self.result.get("extra", {})}


def elements(ds: Dataset, skip: frozenset[str] = frozenset()) -> Iterator[tuple[Dataset, Any]]:
    """Yield (data set, element) of an object and of every item nested in it; `skip`: sequences to pass over."""
    for element in ds:
        yield ds, element
        if isinstance(element.value, Sequence) and element.keyword not in skip:
            for item in element.value:
                yield from elements(item, skip)


def concept(item: Dataset) -> str:
    """Return the code value that names an SR content item, "" where it has none."""
    name = attributes.first_item(item, "ConceptNameCodeSequence")
    return "" if name is None else attributes.text(name, "CodeValue")


def content(ds: Dataset) -> Iterator[Dataset]:
    """Yield every content item of a report, from the root down."""
    for item in attributes.items(ds, "ContentSequence"):
        yield item
        yield from content(item)


def groups(ds: Dataset) -> list[Dataset]:
    """Return the measurement groups of a report."""
    return [
        item
        for item in content(ds)
        if attributes.text(item, "ValueType") == "CONTAINER" and concept(item) == MEASUREMENT_GROUP
    ]


def tracking(group: Dataset) -> str:
    """Return the tracking identifier of a group, "" where it has none."""
    items = attributes.items(group, "ContentSequence")
    texts = (attributes.text(i, "TextValue") for i in items if concept(i) == TRACKING_IDENTIFIER)
    return next(texts, "")


def quantity_name(identifier: str) -> str:
    """Return what a tracking identifier is of: "OC" of "Cornerstone3DTools@^0.1.0:Length:OC"."""
    return identifier.rpartition(":")[2]


def numbers(group: Dataset) -> list[Dataset]:
    """Return the numeric content items of a group that have a value, in their order."""
    items = attributes.items(group, "ContentSequence")
    return [
        i for i in items if attributes.text(i, "ValueType") == "NUM" and value_of(i) is not None
    ]


def value_of(item: Dataset) -> float | None:
    """Return the value of a numeric content item."""
    measured = attributes.first_item(item, "MeasuredValueSequence")
    return None if measured is None else attributes.number(measured, "NumericValue")
