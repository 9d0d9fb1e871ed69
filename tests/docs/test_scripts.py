"""The scripts of the documents fit the code: a name that has moved would be missed by their next user only."""

from __future__ import annotations

import subprocess
import sys

from tests.support.paths import ROOT

DOCS = ROOT / "docs"


def test_every_script_can_be_imported() -> None:
    names = sorted(p.stem for p in DOCS.glob("*.py"))
    assert {"generate", "page", "conformance"} <= set(names)
    code = f"import sys, importlib; sys.path.insert(0, {str(DOCS)!r})\n" + "\n".join(
        f"importlib.import_module({name!r})" for name in names
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr[-2000:]
