"""Result folders as the delivery finds them."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path


def list_objects(folder: Path) -> None:
    """Write the `result.json` that names every object in a folder with its digest."""
    objects = [
        {"file": p.name, "sha256": hashlib.sha256(p.read_bytes()).hexdigest()}
        for p in sorted(folder.glob("*.dcm"))
    ]
    (folder / "result.json").write_text(json.dumps({"objects": objects}))
