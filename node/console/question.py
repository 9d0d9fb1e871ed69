"""What the viewer may ask the archive: readings of QIDO-RS and WADO-RS, in their known forms alone."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from urllib.parse import parse_qsl

from starlette.datastructures import Headers

ROOT: Final = "/dicom-web"
LONGEST: Final = 4096
"""Characters of path and query."""
MOST_KEYS: Final = 40

_UID: Final = r"[0-9]{1,64}(?:\.[0-9]{1,64}){0,32}"
_NUMBER: Final = r"[0-9]{1,6}"
_VIEW: Final = r"metadata|rendered|thumbnail"
_INSTANCE: Final = (
    rf"(?:/(?:{_VIEW}|frames/{_NUMBER}(?:,{_NUMBER}){{0,200}}(?:/(?:rendered|thumbnail))?"
    r"|bulk(?:data)?(?:/[0-9A-Za-z]{1,64}){1,8}))?"
)
_SERIES: Final = rf"(?:/(?:{_VIEW}|instances(?:/{_UID}{_INSTANCE})?))?"
_STUDY: Final = rf"(?:/(?:{_VIEW}|instances|series(?:/{_UID}{_SERIES})?))?"
PATH: Final = re.compile(rf"/studies(?:/({_UID}){_STUDY})?")
"""Paths of QIDO-RS and WADO-RS (PS3.18 section 8 to 10) below the root: no signs but digits, dots between them, words."""
_KEY: Final = re.compile(r"[A-Za-z0-9]{1,64}(?:\.[A-Za-z0-9]{1,64}){0,4}")
_VALUE: Final = re.compile(r"[^\x00-\x1f\x7f]{0,512}")
_STUDY_KEYS: Final = frozenset({"studyinstanceuid", "studyinstanceuids", "0020000d"})
_ACCEPT: Final = re.compile(r"[A-Za-z0-9.+*/;=,\" _-]{1,512}")


@dataclass(frozen=True, slots=True)
class Question:
    """What the archive is asked. path: below its address. keys: of the query. study: "" where the path names none."""

    path: str
    keys: tuple[tuple[str, str], ...]
    accept: str
    study: str

    @property
    def studies(self) -> frozenset[str]:
        """The studies that it is about, by path and keys; none where it is about any."""
        named = (v for k, v in self.keys if k.lower() in _STUDY_KEYS)
        found = {uid for value in named for uid in re.split(r"[,\\]", value)}
        return frozenset(found | {self.study} if self.study else found)

    @property
    def is_list(self) -> bool:
        """Whether it asks for studies without naming any."""
        return self.path == "/studies" and not self.studies

    def is_about(self, is_known: Callable[[str], bool]) -> bool:
        """Return whether it names studies, and none but known ones."""
        return bool(self.studies) and all(
            re.fullmatch(_UID, uid) and is_known(uid) for uid in self.studies
        )


def question(raw_path: bytes, raw_query: bytes, headers: Headers) -> Question | None:
    """Return what a request asks; None where it is no reading of DICOMweb. raw_path: as sent, nothing decoded."""
    try:
        path, query = raw_path.decode("ascii"), raw_query.decode("ascii")
    except UnicodeDecodeError:
        return None
    if len(path) + len(query) > LONGEST or not path.startswith(f"{ROOT}/"):
        return None
    found = PATH.fullmatch(path.removeprefix(ROOT))
    if found is None:
        return None
    try:
        keys = parse_qsl(query, keep_blank_values=True, max_num_fields=MOST_KEYS, errors="strict")
    except ValueError:
        return None
    if not all(_KEY.fullmatch(k) and _VALUE.fullmatch(v) for k, v in keys):
        return None
    accept = headers.get("accept", "*/*")
    if not _ACCEPT.fullmatch(accept):
        return None
    return Question(found[0], tuple(keys), accept, found[1] or "")
