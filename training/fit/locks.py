"""Lock what several processes share, such as the pre-training run of all folds."""

from __future__ import annotations

import fcntl
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def hold_lock(folder: Path, name: str, report: Callable[[str], None]) -> Iterator[None]:
    """Hold `folder`/`name` for this process; while another one holds it, report that once and wait.

    The lock ends with the process, however that ends; an empty hidden file stays in `folder`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / f".{name}.lock").open("w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            report(f"another process works on {name}; waiting for its end")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
