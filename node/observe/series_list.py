"""`list`: the series of the journal, newest first, and those of a patient or an order."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from node.journal.journal import Journal
from node.journal.overview import SeriesFilter
from node.journal.rows import SeriesRow
from node.observe.explain import reason_text, series_json
from node.observe.identity import Identity, read_identity
from node.observe.identity_index import IdentityKey
from node.observe.links import viewer_link

MAX_SEARCHED: Final = 5000
"""Newest series whose headers are searched where the index does not hold them: about a second."""
_BATCH: Final = 500


@dataclass(frozen=True, slots=True)
class SeriesList:
    """Rows for programs, newest first, and the number of series that match without a limit."""

    rows: tuple[dict[str, Any], ...]
    total: int


def list_series(
    journal: Journal,
    wanted: SeriesFilter,
    limit: int | None = None,
    *,
    identity: bool = False,
    viewer: str = "",
) -> SeriesList:
    """List series with state, reason, description, date and the link to the newest result.

    identity: also patient id and accession number, read from the header of a stored object. viewer: template of the
    links, see `viewer_link`.
    """
    newest = journal.overview.newest(wanted, limit)
    rows = tuple(list_rows(journal, newest, identity=identity, viewer=viewer))
    return SeriesList(rows, len(rows) if limit is None else journal.overview.count(wanted))


def list_rows(
    journal: Journal, rows: Sequence[SeriesRow], *, identity: bool = False, viewer: str = ""
) -> list[dict[str, Any]]:
    """Return these series for programs, with description, date and link; identity, viewer: as in `list_series`."""
    few = [row.id for row in rows] if len(rows) <= _BATCH else None
    unused = journal.instances.unused_counts(few)
    links = _links(journal, rows, viewer)
    return [
        series_json(row, unused.get(row.key, {}))
        | _header_json(header, identity=identity)
        | {"link": links.get(row.id)}
        for row, header in _with_identity(journal, rows)
    ]


def _links(journal: Journal, rows: Sequence[SeriesRow], viewer: str) -> dict[int, str | None]:
    """Link to the newest result of each series that has one, by the id of its row."""
    links: dict[int, str | None] = {}
    for start in range(0, len(rows) if viewer else 0, _BATCH):
        batch = {row.id: row for row in rows[start : start + _BATCH]}
        folders = journal.results.newest_folders(list(batch))
        links |= {n: viewer_link(viewer, batch[n].key.study, f) for n, f in folders.items()}
    return links


def find_by_identity(
    journal: Journal, text: str, key: IdentityKey | None = None
) -> list[SeriesRow]:
    """Return series with this accession number or patient id, newest first.

    By the index where the key made it, and by their headers among the newest 5,000 that it does not hold yet.
    """
    identities = journal.identities
    indexed: list[SeriesRow] = []
    if key is not None and identities.fingerprint() == key.fingerprint:
        indexed = identities.find(key.patient(text), key.accession(text))
        others = identities.unread_rows(MAX_SEARCHED)
    else:
        others = journal.overview.newest(SeriesFilter(), MAX_SEARCHED)
    read = [
        row
        for row, header in _with_identity(journal, others)
        if text in {header.patient_id, header.accession_number}
    ]
    found = {row.id: row for row in (*indexed, *read)}
    return sorted(found.values(), key=lambda row: (-row.last_at, -row.id))


def _with_identity(
    journal: Journal, rows: Sequence[SeriesRow]
) -> Iterator[tuple[SeriesRow, Identity]]:
    for start in range(0, len(rows), _BATCH):
        batch = rows[start : start + _BATCH]
        files = journal.overview.sample_files([row.id for row in batch])
        for row in batch:
            file = files.get(row.id)
            yield row, Identity() if file is None else read_identity(file)


def _header_json(header: Identity, *, identity: bool) -> dict[str, Any]:
    shown = {"description": header.description, "acquired": _iso_date(header.date)}
    if identity:
        shown |= {"patient_id": header.patient_id, "accession_number": header.accession_number}
    return shown


def _iso_date(date: str) -> str | None:
    """Return a DICOM date as YYYY-MM-DD; None if it is none."""
    try:
        return datetime.strptime(date, "%Y%m%d").replace(tzinfo=UTC).date().isoformat()
    except ValueError:
        return None


def list_lines(row: Mapping[str, Any]) -> list[str]:
    """Return one series as lines for a narrow screen: nothing is cropped."""
    received = row["last_slice"][:16].replace("T", " ")
    count = f"{row['instances']} object{'' if row['instances'] == 1 else 's'}"
    header = [row["description"], row["acquired"] and f"acquired {row['acquired']}", count]
    lines = [f"{received}  {row['state']:<11}  {', '.join(filter(None, header))}"]
    if "patient_id" in row:
        lines.append(
            f"  patient {row['patient_id'] or '–'}, accession number {row['accession_number'] or '–'}"
        )
    lines.append(f"  {row['series'] or 'without a UID'}")
    reason = reason_text(row)
    return lines + [f"  {text}" for text in (reason, row["link"]) if text]
