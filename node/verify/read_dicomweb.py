"""Serve one object by dicomweb-client and print what does not come back: `python -m node.verify.read_dicomweb OBJECT`.

The object is retrieved as a file and as the metadata of WADO-RS, which is DICOM JSON (PS3.18 F.2).
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from pydicom import dcmread
from pydicom.dataset import Dataset

BULK: Final = frozenset({"PixelData", "EncapsulatedDocument"})
"""Attributes that metadata name by an address."""


def lost(path: Path, scratch: Path) -> Iterator[str]:
    """Yield the attributes that differ after retrieval. Raises what pydicom and dicomweb-client raise."""
    # A package of the training and the tests, which the service does without.
    from dicomweb_client.file import DICOMfileClient  # noqa: PLC0415

    files = scratch / "files"
    files.mkdir()
    shutil.copy(path, files / "object.dcm")
    client = DICOMfileClient(f"file://{files}", update_db=True, db_dir=scratch)
    ds = dcmread(path)
    ids = (str(ds.StudyInstanceUID), str(ds.SeriesInstanceUID), str(ds.SOPInstanceUID))
    if client.retrieve_instance(*ids) != ds:
        yield "another object is retrieved"
    back = Dataset.from_json(client.retrieve_instance_metadata(*ids))
    for element in ds:
        kept = element.tag in back and back[element.tag].value == element.value
        if element.keyword not in BULK and not kept:
            yield f"{element.keyword or element.tag} is another one in the metadata"


if __name__ == "__main__":
    for line in lost(Path(sys.argv[1]), Path(sys.argv[2])):
        sys.stdout.write(f"{line}\n")
