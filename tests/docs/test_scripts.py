"""The scripts of the documents fit the code: a name that has moved would be missed by their next user only."""

from __future__ import annotations

import subprocess
import sys

from tests.support.paths import ROOT

DOCS = ROOT / "docs"


def test_every_script_can_be_imported() -> None:
    names = sorted((str(p.parent), p.stem) for p in DOCS.rglob("*.py"))
    assert {"generate", "page", "conformance", "baseline"} <= {name for _, name in names}
    code = "import sys, importlib\n" + "\n".join(
        f"sys.path.insert(0, {folder!r}); importlib.import_module({name!r})"
        for folder, name in names
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
