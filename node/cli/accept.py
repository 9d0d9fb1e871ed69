"""`accept`: a synthetic study through the site's own archive and back, with a page for the quality file."""

from __future__ import annotations

import sys
import textwrap
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final

import typer

from node.cli.audit import note_command
from node.cli.options import ConfigOption, JsonOption, check_destination, read_config
from node.cli.output import leave_with, print_json, print_line

if TYPE_CHECKING:
    from node.accept.checks import Check
    from node.accept.record import Record

_MARKS: Final = {"passed": "ok", "noted": "noted", "failed": "FAILED", "not possible": "-"}
_WIDTH: Final = 80
_INDENT: Final = 9


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command("accept")(accept)


def accept(
    through: Annotated[
        str, typer.Option("--through", help="Destination to test.", metavar="DESTINATION")
    ],
    config: ConfigOption = None,
    withdraw: Annotated[
        bool,
        typer.Option("--withdraw", help="Send a rejection note (IHE IOCM) for it afterwards."),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Test a destination with a synthetic study, there and back.

    Sends images and the result of an invented patient, ACCEPTANCE^TEST, gets
    everything back, and compares it with what was sent and with the known
    truth: pixels, elements, left and right, values; every validator that is
    installed judges the copies. The running node takes no part. Writes a page
    to print, sign and file. What was sent stays in the archive until you
    delete it.

    \b
    Examples:
      lumbar-node accept --through pacs
      lumbar-node accept --through pacs --withdraw

    \b
    Exit status: 0 passed, 2 configuration or unknown destination, 4 a check
    failed or nothing came back, 5 the destination does not respond, 6 model.

    \b
    Files: acceptance.html, checks.json and result/ in a folder of their own below
    STATE/acceptance/
    """
    from node.accept.checks import exit_code
    from node.accept.command import run_test
    from node.accept.record import record_json
    from node.audit.entry import AuditEvent

    settings = read_config(config)
    check_destination(settings, through)
    screen = Silent() if as_json else Screen()
    record, page = run_test(settings, through, screen, withdraw=withdraw)
    what = {
        "command": "accept",
        "destination": through,
        "study": record.study,
        "verdict": record.verdict,
    }
    note_command(settings, AuditEvent.DESTINATION_TESTED, {k: str(v) for k, v in what.items()})
    if as_json:
        print_json({**record_json(record), "page": str(page)})
    else:
        screen.end()
        for line in _ending(record):
            print_line(line)
        print_line(f"page: {page}")
    leave_with(exit_code(record.checks))


def _ending(record: Record) -> list[str]:
    words = {
        "passed": "PASSED",
        "failed": "FAILED",
        "incomplete": "INCOMPLETE: nothing came back, so nothing is proved",
    }
    lines = ["", f"{words[record.verdict]} ({record.counts})"]
    for sentence in record.deletion:
        lines += textwrap.wrap(sentence, _WIDTH, break_on_hyphens=False)
    return lines


@dataclass(slots=True)
class Silent:
    """Shows nothing."""

    def stage(self, text: str) -> None:
        """Leave it out."""

    def count(self, number: int, of: int) -> None:
        """Leave it out."""

    def check(self, check: Check) -> None:
        """Leave it out."""

    def end(self) -> None:
        """Leave it out."""


@dataclass(slots=True)
class Screen(Silent):
    """Shows checks as lines of 80 columns and, on a terminal, what is in progress on the last one."""

    group: str = ""
    text: str = ""

    def stage(self, text: str) -> None:
        """Show what begins."""
        self.text = text
        self._progress(text)

    def count(self, number: int, of: int) -> None:
        """Show how far it is."""
        self._progress(f"{self.text}: {number} of {of}")

    def check(self, check: Check) -> None:
        """Show one check."""
        self.end()
        if check.group != self.group:
            self.group = check.group
            print_line(check.group)
        for line in check_lines(check):
            print_line(line)
        self._progress(self.text)

    def end(self) -> None:
        """Remove the line of progress."""
        self._progress("")

    @staticmethod
    def _progress(text: str) -> None:
        if sys.stderr.isatty():
            shown = f"  … {text}"[: _WIDTH - 1] if text else ""
            sys.stderr.write(f"\r\x1b[K{shown}")
            sys.stderr.flush()


def check_lines(check: Check) -> list[str]:
    """Return a check as lines; one that did not pass says what was expected and what to do."""
    mark = f"  {_MARKS[check.outcome]:<{_INDENT - 2}}"
    if check.outcome in {"passed", "noted"}:
        return _folded(mark, f"{check.what}: {check.seen}")
    if check.outcome == "not possible" and not check.needed:
        return _folded(mark, f"{check.what}: {check.seen}" + (f"; {check.remedy}" if check.remedy else ""))  # fmt: skip
    lines = _folded(mark, check.what)
    parts = (("expected", check.expected), ("seen", check.seen), ("to do", check.remedy))
    for label, text in parts:
        if text:
            lines += _folded(f"{'':<{_INDENT}}{label + ':':<10}", text)
    return lines


def _folded(head: str, text: str) -> list[str]:
    return textwrap.wrap(
        text, _WIDTH, initial_indent=head, subsequent_indent=" " * len(head), break_on_hyphens=False
    ) or [head]
