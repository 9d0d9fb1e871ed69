"""Tables of the reference pages, read from the code that they describe."""

from __future__ import annotations

import ast
import importlib
import pkgutil
import re
import sqlite3
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import fields
from itertools import groupby
from pathlib import Path
from typing import Any, get_args

import typer.main
from pydantic import BaseModel
from pydantic_core import PydanticUndefined

import dicomseg
import model
import node
from dicomseg.errors import LumbarError
from dicomseg.read.predicates import PREDICATES
from node import events
from node.audit.codes import MEANINGS, MESSAGES
from node.config import audit, cluster, pull, receive, schedule, sections, tls, work
from node.config.profiles import OBJECT_FILES, PROFILES
from node.journal import states
from node.journal.states import DELIVERY_TRANSITIONS, JOB_TRANSITIONS, SERIES_TRANSITIONS
from node.metrics.catalogue import METRICS

ROOT = Path(__file__).resolve().parents[1]
CODES = ROOT / "docs" / "reference" / "codes.toml"
CODE_CLASSES = frozenset({"Refusal", "Finding", "Gaps", "GeometryProblem", "Criterion"})
"""Classes whose first argument is a code that users read."""

CODE = re.compile(r"[a-z]+(?:[_-][a-z]+)*")
NOT_CODES = frozenset({"rehearsal"})
"""Placeholders, which no result holds."""


def table(headings: tuple[str, ...], rows: list[tuple[str, ...]]) -> str:
    """Return a Markdown table; a bar inside a cell is escaped."""
    lines = [headings, tuple("---" for _ in headings), *rows]
    return "\n".join(f"| {' | '.join(c.replace('|', chr(92) + '|') for c in r)} |" for r in lines)


def first_line(text: str | None) -> str:
    """Return the first paragraph of a docstring on one line."""
    return " ".join((text or "").strip().split("\n\n")[0].split())


def transitions() -> str:
    """Render who moves from which state to which, by what event."""
    rows = [
        *_moves("series", SERIES_TRANSITIONS),
        *_moves("delivery", DELIVERY_TRANSITIONS),
        *_moves("job", JOB_TRANSITIONS),
    ]
    return table(("thing", "from", "event", "to"), rows)


def _moves(thing: str, moves: Mapping[tuple[Any, Any], Any]) -> Iterator[tuple[str, ...]]:
    flat = sorted((str(event), str(target), str(state)) for (state, event), target in moves.items())
    for (event, target), group in groupby(flat, key=lambda row: row[:2]):
        yield thing, ", ".join(row[2] for row in group), f"`{event}`", target


def state_values() -> str:
    """Render the states of each kind of row."""
    kinds = (states.InstanceState, states.SeriesState, states.DeliveryState, states.JobState)
    rows = [
        (first_line(kind.__doc__).rstrip("."), ", ".join(f"`{s.value}`" for s in kind))
        for kind in kinds
    ]
    return table(("row", "states"), rows)


def audit_events() -> str:
    """Render what is audited, and as which DICOM audit message."""
    rows = []
    for event, meaning in MEANINGS.items():
        message = MESSAGES.get(event)
        kind = f", {message.kind.value} {message.kind.meaning}" if message and message.kind else ""
        dicom = f"{message.event.value} {message.event.meaning}{kind}" if message else ""
        rows.append((f"`{event}`", meaning, dicom))
    return table(("event", "meaning", "DICOM audit message"), rows)


def configuration() -> str:
    """Render every key of the configuration, section by section."""
    parts: list[str] = []
    for header, section in _sections():
        about = first_line(section.__doc__).split(": ", 1)[-1]
        rows = [
            (f"`{key}`", _type_of(field), _default_of(field), field.description or "")
            for key, field in section.model_fields.items()
            if not _is_section(field.annotation) and field.description
        ]
        parts += [f"## `{header}`", "", f"{about[:1].upper()}{about[1:]}", ""]
        parts += [table(("key", "type", "default", "meaning"), rows), ""]
    return "\n".join(parts).rstrip()


def _sections() -> Iterator[tuple[str, type[BaseModel]]]:
    destinations = get_args(get_args(sections.DestinationConfig)[0])
    yield "[node]", sections.NodeConfig
    for destination in destinations:
        (kind,) = get_args(destination.model_fields["kind"].annotation)
        yield f'[[node.destination]] kind = "{kind}"', destination
    yield "[receive]", receive.ReceiveConfig
    yield "[[receive.caller]]", receive.CallerConfig
    yield "[pull]", pull.PullConfig
    for header, source in (("dicom-move", pull.DicomSource), ("dicomweb", pull.DicomwebSource)):
        yield f'[[pull.source]] kind = "{header}"', source
    yield "[[pull.rule]]", pull.PullRuleConfig
    yield "[tls]", tls.TlsConfig
    yield "[[select.rule]]", sections.RuleConfig
    yield "[track]", sections.TrackConfig
    yield "[work]", work.WorkConfig
    yield "[cluster]", cluster.ClusterConfig
    yield "[model]", sections.ModelConfig
    yield "[results]", sections.ResultsConfig
    yield "[audit]", audit.AuditConfig
    yield "[training.schedule]", schedule.ScheduleConfig
    yield "[metrics]", sections.MetricsConfig
    yield "[web]", sections.WebConfig
    yield "[notify]", sections.NotifyConfig


def _is_section(annotation: object) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _type_of(field: Any) -> str:
    values = [v for v in get_args(field.annotation) if isinstance(v, str)]
    if values:
        return ", ".join(f'`"{v}"`' for v in values)
    text = str(field.annotation)
    if "tuple" in text:
        return "list of strings"
    plain = {"str": "string", "int": "integer", "float": "number", "bool": "true or false"}
    name = getattr(field.annotation, "__name__", "")
    return plain.get(name, "path" if name == "Path" else "string")


def _default_of(field: Any) -> str:
    if field.default is PydanticUndefined:
        return "required"
    value = field.default
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    if isinstance(value, tuple):
        return f"`[{', '.join(f'{chr(34)}{v}{chr(34)}' for v in value)}]`"
    return f"`{value}`" if isinstance(value, int | float) else f'`"{value}"`'


def profile_table() -> str:
    """Render the profiles of destinations: which objects, which form of the segmentation, which compression."""
    headings = ("profile", *(f"`{name}`" for name in PROFILES))
    rows = [
        (f"`{file}`", *("yes" if file in p.objects else "–" for p in PROFILES.values()))
        for file in OBJECT_FILES
    ]
    rows.append(("`seg_form`", *(p.seg_form for p in PROFILES.values())))
    rows.append(("`compress`", *(p.compress for p in PROFILES.values())))
    return table(headings, rows)


def reader_table() -> str:
    """Render which reader each profile is for."""
    return table(("profile", "for"), [(f"`{name}`", p.reader) for name, p in PROFILES.items()])


def predicates() -> str:
    """Render the predicates that a rule may name."""
    rows = [(f"`{name}`", first_line(p.__doc__)) for name, p in PREDICATES.items()]
    whole = ("`has_enough_slices`", "A regular grid, large enough to find a disc in.")
    return table(("predicate", "yes means"), [*rows, whole])


def event_classes() -> list[type[events.Event]]:
    """Return the classes of events that the service logs."""
    classes = [v for v in vars(events).values() if isinstance(v, type)]
    return [c for c in classes if issubclass(c, events.Event) and c is not events.Event]


def event_table() -> str:
    """Render every event with its fields."""
    rows = [
        (
            f"`{event.__name__}`",
            first_line(event.__doc__),
            ", ".join(f"`{f.name}`" for f in fields(event)),
        )
        for event in event_classes()
    ]
    return table(("event", "logged when", "fields"), rows)


def metric_table() -> str:
    """Render every metric with its labels."""
    rows = [
        (f"`{m.name}`", m.kind, ", ".join(f"`{label}`" for label in m.labels), m.help)
        for m in METRICS
    ]
    return table(("metric", "kind", "labels", "meaning"), rows)


def error_classes() -> list[type[LumbarError]]:
    """Return every error class of the service and its core, by exit status and code."""
    for package in (dicomseg, model, node):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not found.name.endswith("__main__"):
                importlib.import_module(found.name)
    classes: list[type[LumbarError]] = []
    waiting = [LumbarError]
    while waiting:
        error = waiting.pop()
        classes.append(error)
        waiting += error.__subclasses__()
    ours = {c for c in classes if c.__module__.split(".")[0] in {"dicomseg", "model", "node"}}
    return sorted(ours, key=lambda c: (c.exit_code, c.code, c.__name__))


def error_table() -> str:
    """Render every error with its exit status and remedy."""
    rows = [(f"`{c.code}`", str(c.exit_code), first_line(c.__doc__)) for c in error_classes()]
    return table(("code", "exit status", "what happened; what to do"), rows)


def exit_table() -> str:
    """Render the exit statuses and the errors that end a command with each."""
    from node.cli.app import app  # noqa: PLC0415 - the command line imports much

    help_text = str(typer.main.get_command(app).help)
    meanings = dict(re.findall(r"^ *(\d+)  (.+)$", help_text, re.MULTILINE))
    rows = []
    for status, meaning in meanings.items():
        codes = [c.code for c in error_classes() if str(c.exit_code) == status]
        named = ", ".join(f"`{code}`" for code in dict.fromkeys(codes) if code != "unexpected")
        rows.append((status, meaning, named))
    return table(("status", "meaning", "errors"), rows)


def codes_in_source() -> set[str]:
    """Return the codes of refusals, warnings and flags that the core can write into a result."""
    codes: set[str] = set()
    for package in ("dicomseg", "model", "node/review"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for item in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                codes |= {code for code in _codes_of(item, path) if CODE.fullmatch(code)}
    errors = {c.code for c in error_classes() if "-" in c.code}
    return codes - NOT_CODES - errors


def _codes_of(item: ast.AST, path: Path) -> Iterator[str]:
    """Yield first arguments of the classes, pairs and constants in `measure`, names with a hyphen in `read`."""
    texts: list[ast.expr] = []
    if isinstance(item, ast.Call) and isinstance(item.func, ast.Name) and item.args:
        texts = [item.args[0]] if item.func.id in CODE_CLASSES else []
    elif "measure" in path.parts and isinstance(item, ast.Tuple) and len(item.elts) == 2:
        texts = [e for e in item.elts[:1] if "_" in ast.unparse(e)]
    elif "measure" in path.parts and isinstance(item, ast.IfExp):
        texts = [e for e in (item.body, item.orelse) if "_" in ast.unparse(e)]
        texts += item.body.elts if isinstance(item.body, ast.List) else []
    elif "measure" in path.parts and isinstance(item, ast.AnnAssign) and item.value:
        texts = [item.value] if "_" in ast.unparse(item.value) else []
    elif isinstance(item, ast.Constant) and {"read", "review"} & {*path.relative_to(ROOT).parts} and path.name != "rules.py":  # fmt: skip
        texts = [item] if "-" in str(item.value) else []
    yield from (str(t.value) for t in texts if isinstance(t, ast.Constant))


def documented_codes() -> dict[str, dict[str, str]]:
    """Return the meanings of `codes.toml` by group and code."""
    with CODES.open("rb") as file:
        return tomllib.load(file)


def code_table(group: str) -> str:
    """Render one group of codes with their meanings."""
    groups = documented_codes()
    known = {code for meanings in groups.values() for code in meanings}
    if known != codes_in_source():
        raise ValueError(f"{CODES}: {sorted(known ^ codes_in_source())} only there or only in code")
    rows = [(f"`{code}`", meaning) for code, meaning in groups[group].items()]
    return table(("code", "meaning"), rows)


def journal_schema() -> str:
    """Render the tables of a new journal."""
    connection = sqlite3.connect(":memory:")
    for script in sorted((ROOT / "node/journal/migrations").glob("*.sql")):
        connection.executescript(script.read_text(encoding="utf-8"))
    rows = []
    names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY rowid")
    for (name,) in names.fetchall():
        columns = connection.execute(f"PRAGMA table_info({name})").fetchall()
        rows.append((f"`{name}`", ", ".join(f"`{c[1]}`" for c in columns)))
    return table(("table", "columns"), rows)
