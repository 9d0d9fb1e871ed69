"""The address that opens a result in a viewer."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from node.store.results import read_result


def viewer_link(template: str, study: str, folder: Path) -> str | None:
    """Return the address of a result; None where no viewer is configured or the study has no UID.

    template: `[results] viewer`. folder: of the result; any object of it names it to the viewer. UIDs come from
    headers, so that nothing of them is taken as part of the address.
    """
    if not template or not study:
        return None
    objects = read_result(folder).get("objects")
    first = objects[0] if isinstance(objects, list) and objects else {}
    result = str(first.get("sop_instance", "")) if isinstance(first, dict) else ""
    found = {"{study}": study, "{result}": result}
    for place, uid in found.items():
        template = template.replace(place, quote(uid, safe=""))
    return template
