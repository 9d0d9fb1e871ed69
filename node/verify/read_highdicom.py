"""Read one object by highdicom and print what it holds: `python -m node.verify.read_highdicom OBJECT`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import highdicom as hd
import numpy as np
from pydicom import dcmread
from pydicom.uid import MRImageStorage, SecondaryCaptureImageStorage

from node.verify.classes import REPORTS, SEGMENTATIONS
from node.verify.reading import Reading


def read_object(path: Path) -> Reading:
    """Read an object by the class that highdicom has for it. Raises what highdicom raises."""
    sop_class = str(dcmread(path, specific_tags=["SOPClassUID"]).SOPClassUID)
    if sop_class in SEGMENTATIONS:
        return _segmentation(path)
    if sop_class in REPORTS:
        return _report(path)
    image = hd.imread(path)
    if sop_class == MRImageStorage:
        image.get_volume()
    elif sop_class == SecondaryCaptureImageStorage:
        image.get_frame(1)
    return Reading()


def _segmentation(path: Path) -> Reading:
    volume = hd.seg.segread(path).get_volume(combine_segments=True, skip_overlap_checks=True)
    counts = np.bincount(volume.array.ravel().astype(np.int64))
    return Reading(voxels={str(n): int(count) for n, count in enumerate(counts) if n and count})


def _report(path: Path) -> Reading:
    """The groups of a report by the templates TID 1501, 1410 and 1411."""
    content: Any = hd.sr.srread(path).content
    groups = [
        *content.get_image_measurement_groups(),
        *content.get_planar_roi_measurement_groups(),
        *content.get_volumetric_roi_measurement_groups(),
    ]
    values = {}
    for group in groups:
        numbers = group.get_measurements()
        if numbers:
            values[str(group.tracking_identifier)] = float(numbers[0].value)
    return Reading(len(groups), values)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(read_object(Path(sys.argv[1])).to_json()))
