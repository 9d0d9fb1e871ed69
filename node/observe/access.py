"""What the user who asks may not read: a command that needs it says so before it begins, in one line."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterable
from pathlib import Path

from node.errors import StateRefused


def require_access(folders: Iterable[Path]) -> None:
    """Check that this user may look into folders; one that is absent is for others to miss.

    Raises:
        StateRefused: one may not be read; the line names its owner.
    """
    for folder in folders:
        try:
            owner = folder.stat().st_uid
        except FileNotFoundError:
            continue
        except OSError:
            owner = folder.parent.stat().st_uid
        if not os.access(folder, os.R_OK | os.X_OK):
            raise StateRefused(
                f"{folder}: only user {user_name(owner)} may look into it; ask as that user (sudo -u)"
            )


def user_name(uid: int) -> str:
    """Return the name of a user, or the number where there is none."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)
