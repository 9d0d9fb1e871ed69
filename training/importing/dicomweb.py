"""A study's SEG objects and the MR series they segment, fetched by QIDO-RS and WADO-RS."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import requests
from dicomweb_client.api import DICOMwebClient
from pydicom.dataset import Dataset

from dicomseg.read import attributes
from training.errors import ImportRefused, PeerFailed, SourceMissing, UsageError

TIMEOUT_S: Final = 60.0
_PREFIX: Final = ".incoming-"
_UID: Final = re.compile(r"[0-9.]{1,64}")


@contextmanager
def fetched_studies(
    url: str,
    studies: list[str],
    out: Path,
    authorization: str = "",
    report: Callable[[str], None] = lambda _: None,
) -> Iterator[Path]:
    """Fetch the studies into a folder of their own, readable by its owner, and remove it afterwards.

    Files of a killed import are removed first: they hold identifiers.

    Raises:
        UsageError: an address with a password in it, or a study that is no UID.
        PeerFailed: no connection, no rights, or a response that is not DICOMweb.
        SourceMissing: a study without SEG.
    """
    _check(url, studies)
    out.mkdir(parents=True, exist_ok=True)
    for left in out.glob(f"{_PREFIX}*"):
        if not _is_running(left.name.removeprefix(_PREFIX).partition("-")[0]):
            shutil.rmtree(left)
    folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir=out))
    try:
        headers = {"Authorization": authorization} if authorization else None
        client = DICOMwebClient(url.rstrip("/"), headers=headers, timeout=TIMEOUT_S)
        client.set_http_retry_params(retry=True, max_attempts=3, wait_exponential_multiplier=200)
        for number, study in enumerate(studies):
            _study(client, study, folder / f"{number:04d}", report)
        yield folder
    except (requests.RequestException, ConnectionError) as error:
        response = getattr(error, "response", None)
        reason = type(error).__name__ if response is None else f"HTTP {response.status_code}"
        raise PeerFailed(
            f"{url}: {reason}; check address, rights and that it is running"
        ) from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _check(url: str, studies: list[str]) -> None:
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise UsageError("--dicomweb: no address; give http://HOST:PORT/PATH")
    if parts.username or parts.password:
        raise UsageError(
            "--dicomweb: no user or password in the address; see docs/howto/import-labels.md"
        )
    if not all(_UID.fullmatch(study) for study in studies):
        raise UsageError("--study: no UID; give the Study Instance UID, digits and dots")


def _is_running(pid: str) -> bool:
    return pid.isdigit() and Path("/proc", pid).exists()


def _study(client: Any, study: str, folder: Path, report: Callable[[str], None]) -> None:
    try:
        series_list = [Dataset.from_json(s) for s in client.search_for_series(study)]
        kinds = {
            attributes.text(s, "SeriesInstanceUID"): attributes.text(s, "Modality")
            for s in series_list
        }
        wanted: set[str] = set()
        for number, series in enumerate(u for u, kind in kinds.items() if kind == "SEG"):
            report(f"SEG series {number + 1}")
            for seg in _series(client, study, series, folder / f"seg-{number}"):
                wanted |= {
                    attributes.text(i, "SeriesInstanceUID")
                    for i in attributes.items(seg, "ReferencedSeriesSequence")
                }
        if "SEG" not in kinds.values():
            raise SourceMissing(
                f"the study holds no SEG ({len(series_list)} series); segment it first"
            )
        images = [u for u, kind in kinds.items() if kind == "MR" and (u in wanted or not wanted)]
        for number, series in enumerate(images):
            report(f"MR series {number + 1} of {len(images)}")
            _series(client, study, series, folder / f"mr-{number}")
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise PeerFailed(
            f"{client.base_url}: the response is not DICOMweb ({type(error).__name__}); check the address"
        ) from error


def _series(client: Any, study: str, series: str, folder: Path) -> list[Dataset]:
    """Fetch a series, write it as files and return its data sets."""
    folder.mkdir(parents=True)
    objects = list(client.retrieve_series(study, series))
    for number, dataset in enumerate(objects):
        try:
            dataset.save_as(folder / f"{number:05d}.dcm", enforce_file_format=True)
        except (ValueError, TypeError, AttributeError, OSError) as error:
            raise ImportRefused(
                f"object {number + 1} of a series cannot be kept ({type(error).__name__}); is the disk full?"
            ) from error
    return objects
