"""Name what training and evaluation refuse, and the exit codes."""

from __future__ import annotations

from collections.abc import Sequence

from dicomseg.errors import InputRefused, LumbarError


class CaseUnreadable(InputRefused):
    """A prepared case is missing, incomplete or does not fit its card; prepare it again."""

    code = "case-unreadable"


class SourceMissing(InputRefused):
    """The folder holds none of the files that are expected there; see the message for the names."""

    code = "source-missing"


class ReadingsUnreadable(InputRefused):
    """The file of readings is missing or of another form; the message names the file."""

    code = "readings-unreadable"


class UsageError(LumbarError):
    """The options contradict each other; see the message for which and what to use instead."""

    code = "usage-error"
    exit_code = 2


class NotInstalled(LumbarError):
    """The training commands are not part of this installation; install the `train` extra."""

    code = "not-installed"
    exit_code = 2


class CheckpointUnreadable(InputRefused):
    """A checkpoint is truncated or of another kind; delete it to start again."""

    code = "checkpoint-unreadable"


class RecipeError(UsageError):
    """The recipe cannot be read or holds an unknown key; see the message for the known ones."""

    code = "recipe-error"


class ImportRefused(InputRefused):
    """A file of a cohort to import breaks a rule; the message names the file, the rule and the remedy."""

    code = "import-refused"


class LabelTableError(UsageError):
    """The table of labels cannot be used; see the message for the entry and the known structures."""

    code = "label-table-error"


class WorkersAway(LumbarError):
    """No worker can train a fold; the message says why. Finished folds are kept, the same command continues."""

    code = "workers-away"
    exit_code = 5


class SecretError(UsageError):
    """The project's secret is unreadable, malformed or open to others; see the message."""

    code = "secret-error"


class PeerFailed(LumbarError):
    """The DICOMweb server gave no usable answer; check address, rights and network."""

    code = "peer-failed"
    exit_code = 5


class HeldOutError(UsageError):
    """The file of fixed held-out cases cannot be used; the message names the case and the rule."""

    code = "held-out-error"


class RetrainRefused(UsageError):
    """The candidate could not be proposed whatever it learns; nothing was trained. The message says what to change."""

    code = "retrain-refused"

    def __init__(self, reasons: Sequence[str]) -> None:
        self.reasons = tuple(reasons)
        more = f" (and {len(reasons) - 1} more)" if len(reasons) > 1 else ""
        super().__init__(f"nothing was trained: {reasons[0]}{more}")


class NoSpaceLeft(LumbarError):
    """The disk has no room for the run; free space and repeat the command, which continues the run."""

    code = "no-space-left"


class FoldsError(UsageError):
    """The folds mix patients or do not fit the cases; the message names the case."""

    code = "folds-error"


class ResultsUnreadable(InputRefused):
    """The results file is missing or of another form; evaluate again."""

    code = "results-unreadable"
