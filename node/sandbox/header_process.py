"""The process that reads headers, run as `python -m node.sandbox.header_process`: pydicom meets untrusted bytes here.

A question is `["header", path]` or `["meta", path]`.
"""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path
from typing import Any, Final

from pydicom.filereader import read_file_meta_info

from dicomseg.errors import Unreadable
from dicomseg.read import header as headers
from dicomseg.read.instance import Instance
from node.sandbox.answers import answer_questions

MOST_BYTES: Final = 1_500_000_000
"""Address space, of which libraries take 300 MB; the largest header that is read takes about as much."""
_FIELDS: Final = tuple(f.name for f in fields(Instance) if f.name != "path")
META: Final = ("MediaStorageSOPInstanceUID", "MediaStorageSOPClassUID", "TransferSyntaxUID")


def answer(question: Any) -> object:
    """Answer one question."""
    kind, name = question
    return _meta(Path(name)) if kind == "meta" else _header(Path(name))


def _header(path: Path) -> dict[str, object]:
    """Return the fields of the `Instance` in their order, or why there is none."""
    try:
        instance = headers.read_instance(path)
    except Unreadable as error:
        cause = error.__cause__
        return {"refused": str(error), "errno": cause.errno if isinstance(cause, OSError) else None}
    except OSError as error:
        return {"refused": "", "errno": error.errno}
    except Exception as error:  # noqa: BLE001 - the file holds anything
        reason = f"not a complete DICOM object ({type(error).__name__}); send it again"
        return {"refused": f"{path.name}: {reason}", "errno": None}
    return {"instance": [getattr(instance, name) for name in _FIELDS]}


def _meta(path: Path) -> dict[str, str]:
    """Return UIDs of the file meta information, as far as it can be read."""
    try:
        meta = read_file_meta_info(path)
        return {name: str(meta.get(name, "")) for name in META}
    except Exception:  # noqa: BLE001 - the file holds anything
        return dict.fromkeys(META, "")


def main() -> None:
    """Answer until the service is gone."""
    answer_questions(answer, MOST_BYTES)


if __name__ == "__main__":
    main()
