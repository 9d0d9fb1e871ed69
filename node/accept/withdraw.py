"""A rejection note for everything that a test sent: an archive that knows IHE IOCM hides the study."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from pydicom import dcmread

from dicomseg.encode.rejection_note import Rejection, encode
from node.accept.checks import Check, passes
from node.accept.record import WITHDRAWN
from node.accept.run import STORED, Acceptance
from node.deliver.port import read_result_file
from node.durable import private_folder

_NOTE: Final = "rejection.dcm"


def withdraw_study(test: Acceptance) -> None:
    """Send the note, as a check of the test."""
    test.report.stage("sending the rejection note")
    headers = [dcmread((f.plain or f).path, stop_before_pixels=True) for f in test.sent]
    if not headers:
        return
    rejection = Rejection(str(test.result["result_id"]), "newer_input", headers)
    folder = test.work / "note"
    private_folder(folder)
    (folder / _NOTE).write_bytes(encode(rejection, datetime.now().astimezone()))
    outcome = test.peer.destination.send([read_result_file(folder / _NOTE)])[0]
    accepted = outcome.disposition == "accepted"
    seen = "accepted" if accepted else outcome.text
    test.add(Check(STORED, WITHDRAWN, "accepted", seen, passes(accepted)))
