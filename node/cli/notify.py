"""`lumbar-node notify`: the messages to people."""

from __future__ import annotations

import time

import typer

from node.cli.options import ConfigOption, command_group, open_journal, read_config
from node.cli.output import leave_with, print_line, warn


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = command_group("Messages by mail and webhook.")
    group.command("test")(send_test)
    group.command("show")(show)
    app.add_typer(group, name="notify")


def send_test(config: ConfigOption = None) -> None:
    """Send a test message by every configured channel.

    \b
    Examples:
      lumbar-node notify test

    \b
    Exit status: 0 sent, 2 configuration, 3 none is configured, 5 a server was
    not reached or refused.
    """
    from dicomseg.errors import LumbarError
    from node.errors import NothingConfigured
    from node.notices.step import build_channels
    from node.notices.text import trial_message

    settings = read_config(config)
    channels = build_channels(settings.notify, settings.node.name)
    if not channels:
        raise NothingConfigured("[notify]: neither mail_host nor webhook is set; set one of them")
    code, now = 0, time.time()
    for channel in channels:
        try:
            channel.send(trial_message(settings.node.name, now), now)
        except LumbarError as error:
            warn(str(error))
            code = max(code, error.exit_code)
        else:
            print_line(f"{channel.name}: sent to {channel.where}")
    leave_with(code)


def show(config: ConfigOption = None) -> None:
    """Print the digest as it would be sent now; sends nothing.

    \b
    Examples:
      lumbar-node notify show

    \b
    Exit status: 0, 2 configuration or no journal.
    """
    from node.notices.conditions import current_conditions
    from node.notices.day import read_day, read_recent
    from node.notices.text import digest_text
    from node.observe.attention import attention
    from node.observe.health import read_health
    from node.observe.selftest import site_matters

    settings, now = read_config(config), time.time()
    journal = open_journal(settings)
    health = read_health(settings.node.state, now)
    matters = [*site_matters(settings, now), *attention(journal)]
    conditions = current_conditions(matters, health, read_recent(journal, now))
    for line in digest_text(read_day(journal, now), list(conditions.values()), now).split("\n"):
        print_line(line)
