"""`lumbar-node users`: who may use the console."""

from __future__ import annotations

import sys
import time
from typing import TYPE_CHECKING, Annotated, Final

import typer

from node.cli.options import ConfigOption, JsonOption, command_group, local_user, read_config
from node.cli.output import print_json, print_line, warn

if TYPE_CHECKING:
    from node.config.sections import Config
    from node.console.users import Users

ROLES: Final = ("viewer", "physician", "operator")
NameArgument = Annotated[str, typer.Argument(help="Name of the user.", metavar="NAME")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    group = command_group("Users of the console.")
    group.command("add")(add)
    group.command("remove")(remove)
    group.command("list")(list_users)
    app.add_typer(group, name="users")


def add(
    name: NameArgument,
    role: Annotated[str, typer.Option("--role", help="viewer, physician or operator.")],
    no_password: Annotated[
        bool, typer.Option("--no-password", help='For [web] auth = "proxy": the proxy asks.')
    ] = False,
    config: ConfigOption = None,
) -> None:
    """Add a user, or change role and password of one.

    The password is asked for, or read from the first line of standard input.
    A viewer sees states and counts; a physician also values, pictures and
    patient ids, and confirms or rejects results; an operator sees as much
    and retries, delivers again and withdraws.

    \b
    Examples:
      lumbar-node users add meier --role physician
      lumbar-node users add schulz --role operator < password-file

    \b
    Exit status: 0, 2 usage, configuration, name or password.
    """
    from node.cli.options import known_state
    from node.console.users import Role, User, check_name, hash_password

    known_state(role, ROLES, "role")
    settings = read_config(config)
    check_name(name)
    hashed = "" if no_password else hash_password(_password())
    _users(settings).put(User(name, Role(role), hashed))
    _audit(settings, f"user {name} ({role})")
    print_line(f"user {name}: {role}")


def remove(name: NameArgument, config: ConfigOption = None) -> None:
    """Remove a user; their logins end at the next request.

    \b
    Examples:
      lumbar-node users remove meier

    \b
    Exit status: 0, 2 configuration or no such user.
    """
    settings = read_config(config)
    _users(settings).remove(name)
    _audit(settings, f"user {name} removed")
    print_line(f"user {name}: removed")


def list_users(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """List users with their roles.

    \b
    Examples:
      lumbar-node users list

    \b
    Exit status: 0, 2 configuration.
    """
    found = _users(read_config(config)).all()
    if as_json:
        print_json([{"name": u.name, "role": u.role, "password": bool(u.hash)} for u in found])
        return
    for user in found:
        print_line(f"{user.name}  {user.role}{'' if user.hash else ', by the proxy'}")
    if not found:
        print_line("no users; `lumbar-node users add NAME --role operator` adds one")


def _password() -> str:
    if sys.stdin.isatty():
        return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))
    return sys.stdin.readline().rstrip("\r\n")


def _users(config: Config) -> Users:
    from node.console.users import Users
    from node.store.layout import StateDirectory

    return Users(StateDirectory(config.node.state).users)


def _audit(config: Config, what: str) -> None:
    """Write who changed the users into the audit trail."""
    from node.audit.entry import AuditEvent
    from node.audit.step import command_entry, open_trail
    from node.errors import SecretUnusable

    entry = command_entry(AuditEvent.USERS_CHANGED, local_user(), {"change": what}, time.time())
    try:
        open_trail(config).append(entry)
    except (OSError, SecretUnusable) as error:
        warn(f"this is not in the audit trail ({error})")
