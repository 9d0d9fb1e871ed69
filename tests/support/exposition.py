"""A strict reader of the Prometheus text format 0.0.4: everything that `promtool check metrics` would refuse raises."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass, field

NAME = re.compile(r"[a-zA-Z_:][a-zA-Z0-9_:]*")
LABEL = re.compile(r'([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\\n]|\\["\\n])*)"(,|$)')
VALUE = re.compile(r"[+-]?(?:\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|Inf)|NaN")
UNESCAPED = {r"\\": "\\", r"\"": '"', r"\n": "\n"}
SUFFIXES = ("_bucket", "_sum", "_count")


@dataclass
class Family:
    """One metric as it was read; samples by name and labels."""

    name: str
    kind: str
    help: str
    samples: dict[tuple[str, tuple[tuple[str, str], ...]], float] = field(default_factory=dict)

    def value(self, suffix: str = "", **labels: str) -> float:
        return self.samples[self.name + suffix, tuple(sorted(labels.items()))]


def parse(text: str) -> dict[str, Family]:
    """Return the families by name."""
    assert text.endswith("\n"), "the last line has no end"
    families: dict[str, Family] = {}
    help_text: tuple[str, str] | None = None
    family: Family | None = None
    for line in text[:-1].split("\n"):
        if line.startswith("# HELP "):
            name, _, about = line.removeprefix("# HELP ").partition(" ")
            assert about, f"{name}: no help"
            assert name not in families, f"{name}: twice"
            assert re.fullmatch(r"(?:[^\\]|\\[\\n])*", about), f"{name}: escapes"
            help_text = name, about
        elif line.startswith("# TYPE "):
            name, _, kind = line.removeprefix("# TYPE ").partition(" ")
            assert help_text is not None, f"{name}: TYPE without HELP"
            assert help_text[0] == name, f"{name}: TYPE after the HELP of another"
            assert NAME.fullmatch(name), line
            assert kind in {"counter", "gauge", "histogram"}, line
            assert (kind == "counter") == name.endswith("_total"), f"{name} is a {kind}"
            family = families[name] = Family(name, kind, help_text[1])
        else:
            assert family is not None, line
            _sample(family, line)
    for known in families.values():
        assert known.samples, f"{known.name}: no sample"
        if known.kind == "histogram":
            _histogram(known)
    return families


def _sample(family: Family, line: str) -> None:
    match = NAME.match(line)
    assert match, line
    name, rest = match[0], line[match.end() :]
    allowed = [family.name + s for s in SUFFIXES] if family.kind == "histogram" else [family.name]
    assert name in allowed, f"{name} among the samples of {family.name}"
    labels: dict[str, str] = {}
    if rest.startswith("{"):
        body, _, rest = _braces(rest)
        while body:
            label = LABEL.match(body)
            assert label, f"labels {body!r}"
            assert label[1] not in labels, line
            assert not label[1].startswith("__"), line
            labels[label[1]] = re.sub(r"\\.", lambda m: UNESCAPED[m[0]], label[2])
            body = body[label.end() :]
    assert re.fullmatch(rf" ({VALUE.pattern})", rest), f"value {rest!r}"
    key = name, tuple(sorted(labels.items()))
    assert key not in family.samples, f"{line}: twice"
    value = float(rest.strip().replace("Inf", "inf"))
    assert not (family.kind != "gauge" and (value < 0 or math.isnan(value))), line
    family.samples[key] = value


def _braces(rest: str) -> tuple[str, str, str]:
    quoted = escaped = False
    for n, sign in enumerate(rest):
        if escaped:
            escaped = False
        elif sign == "\\":
            escaped = True
        elif sign == '"':
            quoted = not quoted
        elif sign == "}" and not quoted:
            return rest[1:n], "}", rest[n + 1 :]
    raise AssertionError(f"no end of the labels: {rest!r}")


def _histogram(family: Family) -> None:
    groups: dict[tuple[tuple[str, str], ...], list[tuple[float, float]]] = {}
    for (name, labels), value in family.samples.items():
        if name.endswith("_bucket"):
            bound = float(dict(labels)["le"].replace("Inf", "inf"))
            groups.setdefault(tuple(x for x in labels if x[0] != "le"), []).append((bound, value))
    for labels, buckets in groups.items():
        assert buckets == sorted(buckets), f"{family.name}{labels}"
        assert buckets[-1][0] == math.inf, f"{family.name}{labels}"
        assert [n for _, n in buckets] == sorted(n for _, n in buckets)
        assert family.samples[family.name + "_count", labels] == buckets[-1][1]
        assert (family.name + "_sum", labels) in family.samples
