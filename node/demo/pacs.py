"""Queries to the Orthanc of the demonstration: the objects of a study, and their bytes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import httpx

_TIMEOUT_S: Final = 30.0


@dataclass(frozen=True, slots=True)
class PacsSeries:
    """One series on the PACS; instances: Orthanc's id by SOP Instance UID."""

    uid: str
    modality: str
    description: str
    instances: dict[str, str]


class Pacs:
    """The part of Orthanc's REST interface that the demonstration needs."""

    def __init__(self, url: str) -> None:
        """Connect to `url`, for example http://127.0.0.1:8042."""
        self._client = httpx.Client(base_url=url, timeout=_TIMEOUT_S)

    def close(self) -> None:
        """Close the connection."""
        self._client.close()

    def _get(self, path: str, **query: str) -> Any:
        answer = self._client.get(path, params=query)
        answer.raise_for_status()
        return answer.json()

    def _lookup(self, uid: str, level: str) -> str | None:
        answer = self._client.post("/tools/lookup", content=uid)
        answer.raise_for_status()
        return next((str(hit["ID"]) for hit in answer.json() if hit["Type"] == level), None)

    def series(self, study_uid: str) -> list[PacsSeries]:
        """Return the series of a study; none when the PACS does not know it."""
        study = self._lookup(study_uid, "Study")
        if study is None:
            return []
        result = []
        for series in self._get(f"/studies/{study}/series"):
            tags = series["MainDicomTags"]
            held = self._get(f"/series/{series['ID']}/instances")
            result.append(
                PacsSeries(
                    tags["SeriesInstanceUID"],
                    tags.get("Modality", ""),
                    tags.get("SeriesDescription", ""),
                    {i["MainDicomTags"]["SOPInstanceUID"]: str(i["ID"]) for i in held},
                )
            )
        return result

    def holds(self, sop_instance_uid: str) -> bool:
        """Return whether an object has arrived."""
        return self._lookup(sop_instance_uid, "Instance") is not None

    def bytes_of(self, sop_instance_uid: str) -> bytes:
        """Return the stored object as a DICOM file. Raises `KeyError` when it is not there."""
        orthanc_id = self._lookup(sop_instance_uid, "Instance")
        if orthanc_id is None:
            raise KeyError(sop_instance_uid)
        answer = self._client.get(f"/instances/{orthanc_id}/file")
        answer.raise_for_status()
        return answer.content

    def sent(self) -> list[dict[str, Any]]:
        """Return the routing jobs, newest last: state, error, and what they sent."""
        jobs: list[dict[str, Any]] = self._get("/jobs", expand="")
        stores = [job for job in jobs if job["Type"] == "DicomModalityStore"]
        return sorted(stores, key=lambda job: str(job["CreationTime"]))
