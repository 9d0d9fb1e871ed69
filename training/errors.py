"""What can go wrong while making and preparing cases."""

from __future__ import annotations

from dicomseg.errors import InputRefused, LumbarError


class CaseUnreadable(InputRefused):
    """A prepared case is missing, incomplete or does not fit its card; prepare it again."""

    code = "case-unreadable"


class SourceMissing(InputRefused):
    """The folder holds none of the files that are expected there; see the message for the names."""

    code = "source-missing"


class OptionsRefused(LumbarError):
    """The options contradict each other; see the message for which and what to use instead."""

    code = "options-refused"
    exit_code = 2


class NothingTrained(LumbarError):
    """The training commands are not part of this installation; install the `train` extra."""

    code = "not-installed"
    exit_code = 2


class CheckpointUnreadable(InputRefused):
    """A checkpoint is truncated or of another kind; delete it to start again."""

    code = "checkpoint-unreadable"


class RecipeRefused(OptionsRefused):
    """The recipe cannot be read or holds an unknown key; see the message for the known ones."""

    code = "recipe-refused"
