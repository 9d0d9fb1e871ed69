"""Refusals of the core: each class is one reason with a remedy and an exit code."""

from __future__ import annotations


class LumbarError(Exception):
    """Something expected went wrong; see the message for what, where and what to do."""

    code: str = "unexpected"
    exit_code: int = 1


class InputRefused(LumbarError):
    """The input cannot be used; see the message for the number that is wrong and the remedy."""

    code = "input-refused"
    exit_code = 4


class SeriesRefused(InputRefused):
    """The series does not make one regular volume; see the message."""

    code = "series-refused"


class Unreadable(InputRefused):
    """The file is not a complete DICOM object with its UIDs; send it again or leave it out."""

    code = "unreadable"
