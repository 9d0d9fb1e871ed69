"""Which configuration file is read: a named one, that of the working folder, or that of the system."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final

VARIABLE: Final = "LUMBAR_NODE_CONFIG"
LOCAL_FILE: Final = Path("config.toml")
SYSTEM_FILE: Final = Path("/etc/lumbar-node/config.toml")


def find_file(
    given: Path | None, environ: Mapping[str, str], system: Path = SYSTEM_FILE
) -> Path | None:
    """Return the file of `--config`, else of `$LUMBAR_NODE_CONFIG`, else ./config.toml, else that of the system.

    None where nothing is named and neither of the last two exists. A named file need not exist.
    """
    if given is not None:
        return given
    if environ.get(VARIABLE):
        return Path(environ[VARIABLE])
    return next((path for path in (LOCAL_FILE, system) if _exists(path)), None)


def _exists(path: Path) -> bool:
    """Whether there is such a file; one in a folder that we must not enter is reported when it is read."""
    try:
        path.stat()
    except PermissionError:
        return True
    except OSError:
        return False
    return True
