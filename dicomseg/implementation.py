"""Who writes the files: the implementation's class UID and version name (PS3.7 D.3.3.2)."""

from __future__ import annotations

from typing import Final

IMPLEMENTATION_CLASS_UID: Final = "2.25.307248342077002791461858857126881824641"
"""`dicomseg.encode.uids.make_uid("implementation")`, written out so that a receiver needs no encoder for it."""

IMPLEMENTATION_VERSION: Final = "LUMBAR_NODE"
