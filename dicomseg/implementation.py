"""Who writes the files: class UID and version name of the implementation (PS3.7 D.3.3.2); a class it writes early."""

from __future__ import annotations

from typing import Final

IMPLEMENTATION_CLASS_UID: Final = "2.25.307248342077002791461858857126881824641"
"""`dicomseg.encode.uids.make_uid("implementation")`, written out so that a receiver needs no encoder for it."""

IMPLEMENTATION_VERSION: Final = "LUMBAR_NODE"

LABEL_MAP_STORAGE: Final = "1.2.840.10008.5.1.4.1.1.66.7"
"""Label Map Segmentation Storage, for which pydicom has no name yet."""
