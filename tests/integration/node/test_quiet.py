"""No value of a received object reaches the log through the libraries that read it."""

from __future__ import annotations

import json
import subprocess
import sys
from io import StringIO

import pytest

from node.event_log import EventLog
from node.events import NodeReady

COMPLAINS = """
import logging
from pydicom import config
from pydicom.valuerep import validate_value
from node.quiet import quiet_libraries
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


FAILS = """
import logging, sys, threading, warnings
from node.event_log import EventLog
from node.library_log import catch_all
catch_all(EventLog("t"))
def fail():
    raise ValueError("Doe^Jane")
for _ in range(3):
    thread = threading.Thread(target=fail, name="heartbeat"); thread.start(); thread.join()
class Broken:
    def __del__(self): fail()
for n in range(50):
    try:
        fail()
    except ValueError:
        logging.getLogger("pynetdicom.events").exception("handler of Doe^Jane %s", n)
    warnings.warn("Doe^Jane")
logging.getLogger("sqlite").info("Doe^Jane")
Broken()
fail()
"""


@pytest.mark.parametrize(
    "error", [OSError(5, "Input/output error"), BrokenPipeError(), ValueError("closed")]
)
def test_line_that_cannot_be_written_stops_nothing(error: Exception) -> None:
    class Gone(StringIO):
        def write(self, text: str) -> int:
            raise error from OSError(text)

    EventLog("t", Gone()).event(NodeReady(1))
    EventLog("t", Gone()).relay({"event": "NodeReady"})


def test_what_is_raised_anywhere_is_an_event_with_class_and_place() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FAILS], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 1
    events = [json.loads(line) for line in done.stderr.splitlines()]
    assert "Doe" not in done.stdout + done.stderr
    failed = [t for t in events if t["event"] == "ThreadFailed"]
    assert [t["thread"] for t in failed] == ["heartbeat"] * 3 + ["cleanup", "main"]
    assert all("ValueError in <string>:" in t["error"] for t in failed)
    # Once from one place, while it lasts.
    logged, warned = [t for t in events if t["event"] == "LibraryComplained"]
    assert logged["place"].startswith("pynetdicom.events <string>:")
    assert logged["error"].startswith("ValueError in <string>:")
    assert (warned["level"], warned["error"]) == ("warning", "UserWarning")
