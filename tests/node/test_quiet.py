"""No value of a received object reaches the log through the libraries that read it."""

from __future__ import annotations

import subprocess
import sys

COMPLAINS = """
import logging
from pydicom import config
from pydicom.valuerep import validate_value
from node.events import quiet_libraries
{call}
logging.getLogger("pydicom").warning("Invalid value for VR DA: 'Doe^Jane'")
validate_value("DA", "Doe^Jane", config.WARN)
"""


def said(call: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", COMPLAINS.format(call=call)],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    return done.stdout + done.stderr


def test_the_libraries_quote_values_unless_they_are_kept_quiet() -> None:
    assert "Doe^Jane" in said("")
    assert "Doe^Jane" not in said("quiet_libraries()")
