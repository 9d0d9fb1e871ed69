"""Start Debian's Orthanc as the image of compose.yaml starts its own: every ORTHANC__KEY is a key of the configuration."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from typing import Any

settings: dict[str, Any] = {
    "StorageDirectory": "/var/lib/orthanc/db",
    "IndexDirectory": "/var/lib/orthanc/db",
    "Plugins": ["/usr/share/orthanc/plugins/libOrthancDicomWeb.so"],
    "RemoteAccessAllowed": True,
}
for name, text in os.environ.items():
    if name.startswith("ORTHANC__"):
        value: Any = text
        with suppress(ValueError):
            value = json.loads(text)
        settings["".join(w.capitalize() for w in name[9:].split("_"))] = value
os.makedirs("/var/lib/orthanc/db", exist_ok=True)  # noqa: PTH103
with open("/tmp/orthanc.json", "w", encoding="utf-8") as file:  # noqa: PTH123, S108
    json.dump(settings, file)
os.execvp("Orthanc", ["Orthanc", "/tmp/orthanc.json"])  # noqa: S606, S108
